// Small RWKV-7 models made in a test: random ones of any dimensions, and ones that recite a given
// text.
//
// Goals: files of any shape, vocabulary and mix of dtypes in milliseconds; every tensor open to a
// test that wants to spoil it. The names and shapes are written out here on their own, so that they
// check model/weight_list.cc. Non-goals: sensible text from random models, speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/rwkv7.h"
#include "base/result.h"
#include "base/temp_folder.h"
#include "format/file_dtype.h"

namespace skein::testing {

// Replaces the file; a failure is a CHECK.
void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);

struct TinyTensor {
  std::string name;
  FileDType dtype = FileDType::kF32;
  std::vector<uint64_t> shape;
  std::vector<float> values;  // product of shape
};

struct TinyModel {
  std::vector<TinyTensor> tensors;

  // The tensor of that name, which is there.
  TinyTensor& at(std::string_view name);
  void erase(std::string_view name);
  // Values of dtypes other than F32, F16 and BF16 are written as zero bytes. A failure is a CHECK.
  void write(const std::string& path) const;
};

// Hidden width 4C, ranks that are no multiples of 32.
Dimensions tiny_dimensions(uint32_t num_emb, uint32_t num_vocab, uint32_t num_layers = 2);

// Values are exact in f16 and bf16, so that a model is the same numbers in every dtype. Tensors
// take the dtypes in turn.
TinyModel random_model(const Dimensions& dims, std::span<const FileDType> dtypes, uint64_t seed);

// A model and a vocabulary that recite: from end of text (id 0) greedy decoding gives the texts of
// `script`, then end of text. Each text is one token and no two are equal; single bytes that the
// script lacks are tokens too. Its state depends on every token that it has seen, its logits on the
// last only.
struct Reciter {
  TinyModel model;
  std::string vocabulary;  // the content of vocab.txt
};
Reciter make_reciter(std::span<const std::string> script);

// `ID 'LITERAL' LENGTH` a line, ids from 1.
std::string vocabulary_text(std::span<const std::string> tokens);

}  // namespace skein::testing
