#include "format/torch_pickle.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "format/byte_reader.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

enum class Kind : uint8_t {
  kMark,
  kNone,
  kBool,
  kNumber,  // a whole number
  kFloat,   // no value: nothing needs one
  kText,
  kTuple,     // of machine.tuples
  kList,      // no value
  kDict,      // of machine.dicts
  kFunction,  // a Function
  kStorage,   // of machine.storages
  kTensor,    // of machine.tensors
};

constexpr std::array<std::string_view, 12> kKindNames = {
    "a mark",  "None",   "a bool",       "a number",   "a float",   "a string",
    "a tuple", "a list", "a dictionary", "a function", "a storage", "a tensor"};

// What a name stands for. Storage classes follow.
enum class Function : uint8_t { kOrderedDict, kRebuildTensor, kRebuildParameter, kStorageClass };

struct Global {
  std::string_view name;  // as torch prints it
  Function function;
  FileDType dtype = FileDType::kF32;  // of a storage class
};

constexpr std::array kGlobals = {
    Global{"collections.OrderedDict", Function::kOrderedDict},
    Global{"torch._utils._rebuild_tensor_v2", Function::kRebuildTensor},
    Global{"torch._utils._rebuild_parameter", Function::kRebuildParameter},
    Global{"torch.FloatStorage", Function::kStorageClass, FileDType::kF32},
    Global{"torch.HalfStorage", Function::kStorageClass, FileDType::kF16},
    Global{"torch.BFloat16Storage", Function::kStorageClass, FileDType::kBF16},
    Global{"torch.DoubleStorage", Function::kStorageClass, FileDType::kF64},
    Global{"torch.LongStorage", Function::kStorageClass, FileDType::kI64},
    Global{"torch.IntStorage", Function::kStorageClass, FileDType::kI32},
    Global{"torch.ShortStorage", Function::kStorageClass, FileDType::kI16},
    Global{"torch.CharStorage", Function::kStorageClass, FileDType::kI8},
    Global{"torch.ByteStorage", Function::kStorageClass, FileDType::kU8},
    Global{"torch.BoolStorage", Function::kStorageClass, FileDType::kBool},
};

// A small value; what does not fit is in the machine, at `index`.
struct Value {
  Kind kind = Kind::kNone;
  int64_t number = 0;
  size_t index = 0;
  std::string_view text = {};
};

struct Storage {
  FileDType dtype;
  std::string_view key;
  uint64_t num_elems;
};

// The opcodes that torch.save writes, as Python's pickletools names them.
enum Opcode : uint8_t {
  kProto = 0x80,
  kStop = '.',
  kMarkOp = '(',
  kEmptyTuple = ')',
  kEmptyDict = '}',
  kEmptyList = ']',
  kNoneOp = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kBinFloat = 'G',
  kBinUnicode = 'X',
  kTupleOp = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kAppend = 'a',
  kAppends = 'e',
  kSetItem = 's',
  kSetItems = 'u',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kGlobalOp = 'c',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBuild = 'b',
};

class Machine {
 public:
  Machine(std::span<const std::byte> pickle, const std::string& file)
      : reader_(pickle), pickle_(pickle), file_(file) {}

  Result<std::vector<PickledTensor>> run() {
    if (reader_.read<uint8_t>() != kProto || reader_.read<uint8_t>() != 2) {
      return error("{}: expected a pickle of protocol 2, as torch.save writes, found another",
                   file_);
    }
    for (;;) {
      const auto opcode = reader_.read<uint8_t>();
      if (!reader_.ok()) return cut_short();
      if (opcode == kStop) break;
      SKEIN_RETURN_IF_ERROR(step(opcode));
      if (!reader_.ok()) return cut_short();
    }
    if (stack_.size() != 1 || stack_.back().kind != Kind::kDict) {
      return error(
          "{}: expected a dictionary of tensors, found {}", file_,
          stack_.empty() ? "nothing" : kKindNames[static_cast<size_t>(stack_.back().kind)]);
    }
    return tensors_of(dicts_[stack_.back().index]);
  }

 private:
  using Dict = std::vector<std::pair<Value, Value>>;

  tl::unexpected<Error> cut_short() const {
    return error("{}: expected a whole pickle, found its end at byte {} (is the file cut short?)",
                 file_, pickle_.size());
  }
  // What cannot be in a pickle that Python wrote.
  tl::unexpected<Error> broken(std::string_view what) const {
    return error("{}: expected a pickle, found {} at byte {}", file_, what, reader_.position());
  }

  void push(Value value) { stack_.push_back(value); }
  void push_number(int64_t number) { push({Kind::kNumber, number}); }

  Status step(uint8_t opcode) {
    switch (opcode) {
      case kMarkOp:
        push({Kind::kMark});
        return {};
      case kNoneOp:
        push({Kind::kNone});
        return {};
      case kNewTrue:
      case kNewFalse:
        push({Kind::kBool, opcode == kNewTrue});
        return {};
      case kBinInt:
        push_number(reader_.read<int32_t>());
        return {};
      case kBinInt1:
        push_number(reader_.read<uint8_t>());
        return {};
      case kBinInt2:
        push_number(reader_.read<uint16_t>());
        return {};
      case kLong1:
        return push_long();
      case kBinFloat:
        reader_.take(8);
        push({Kind::kFloat});
        return {};
      case kBinUnicode: {
        const auto num_bytes = reader_.read<uint32_t>();
        push({Kind::kText, 0, 0, reader_.take_text(num_bytes)});
        return {};
      }
      default:
        return step_container(opcode);
    }
  }

  Status step_container(uint8_t opcode) {
    switch (opcode) {
      case kEmptyTuple:
        return push_tuple(0);
      case kTuple1:
        return push_tuple(1);
      case kTuple2:
        return push_tuple(2);
      case kTuple3:
        return push_tuple(3);
      case kTupleOp: {
        const std::optional<size_t> count = count_to_mark();
        if (!count) return broken("a tuple without a mark");
        SKEIN_RETURN_IF_ERROR(push_tuple(*count));
        stack_.erase(stack_.end() - 2);  // the mark, under the tuple
        return {};
      }
      case kEmptyList:
        push({Kind::kList});
        return {};
      case kAppend:
        return pop_items(Kind::kList, 1, false);
      case kAppends:
        return pop_items(Kind::kList, std::nullopt, false);
      case kEmptyDict:
        push_dict();
        return {};
      case kSetItem:
        return pop_items(Kind::kDict, 2, true);
      case kSetItems:
        return pop_items(Kind::kDict, std::nullopt, true);
      default:
        return step_object(opcode);
    }
  }

  Status step_object(uint8_t opcode) {
    switch (opcode) {
      case kBinPut:
        return put(reader_.read<uint8_t>());
      case kLongBinPut:
        return put(reader_.read<uint32_t>());
      case kBinGet:
        return get(reader_.read<uint8_t>());
      case kLongBinGet:
        return get(reader_.read<uint32_t>());
      case kGlobalOp:
        return push_global();
      case kBinPersId:
        return make_storage();
      case kReduce:
        return reduce();
      case kBuild: {
        // The attributes of an OrderedDict: torch keeps versions of modules in them.
        if (stack_.size() < 2 || stack_[stack_.size() - 2].kind != Kind::kDict) {
          return error("{}: expected attributes of a dictionary only, found those of {}", file_,
                       name_of(2));
        }
        stack_.pop_back();
        return {};
      }
      default:
        return error(
            "{}: expected only what torch.save writes for tensors, found the pickle "
            "opcode 0x{:02x} at byte {}",
            file_, opcode, reader_.position() - 1);
    }
  }

  // The name of the value that is `depth` below the top; 1 is the top.
  std::string_view name_of(size_t depth) const {
    if (stack_.size() < depth) return "nothing";
    return kKindNames[static_cast<size_t>(stack_[stack_.size() - depth].kind)];
  }

  // Two's complement of up to eight bytes.
  Status push_long() {
    const auto num_bytes = reader_.read<uint8_t>();
    if (num_bytes > 8) return broken("a number of more than 64 bits");
    const std::span<const std::byte> bytes = reader_.take(num_bytes);
    uint64_t bits = 0;
    for (size_t i = 0; i < bytes.size(); ++i)
      bits |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
    const unsigned unused = 64 - 8 * static_cast<unsigned>(bytes.size());
    if (unused < 64) bits <<= unused;
    push_number(unused < 64 ? static_cast<int64_t>(bits) >> unused : 0);
    return {};
  }

  std::optional<size_t> count_to_mark() const {
    for (size_t count = 0; count < stack_.size(); ++count) {
      if (stack_[stack_.size() - 1 - count].kind == Kind::kMark) return count;
    }
    return std::nullopt;
  }

  bool has_mark(size_t count) const {
    const auto begin = stack_.end() - static_cast<ptrdiff_t>(count);
    return std::any_of(begin, stack_.end(), [](const Value& v) { return v.kind == Kind::kMark; });
  }

  Status push_tuple(size_t count) {
    if (stack_.size() < count || has_mark(count)) return broken("a tuple of too few values");
    const auto begin = stack_.end() - static_cast<ptrdiff_t>(count);
    tuples_.emplace_back(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    push({Kind::kTuple, 0, tuples_.size() - 1});
    return {};
  }

  void push_dict() {
    dicts_.emplace_back();
    push({Kind::kDict, 0, dicts_.size() - 1});
  }

  // Moves the top `count` values, or those above the mark, into the container under them.
  Status pop_items(Kind kind, std::optional<size_t> count, bool in_pairs) {
    const bool to_mark = !count;
    if (to_mark) count = count_to_mark();
    const size_t under = count.value_or(0) + (to_mark ? 2 : 1);
    if (!count || stack_.size() < under || has_mark(*count) || (in_pairs && *count % 2 != 0)) {
      return broken("items without a container");
    }
    const Value container = stack_[stack_.size() - under];
    if (container.kind != kind) {
      return error("{}: expected {} to put items into, found {}", file_,
                   kKindNames[static_cast<size_t>(kind)], name_of(under));
    }
    const auto begin = stack_.end() - static_cast<ptrdiff_t>(*count);
    if (in_pairs) {
      Dict& dict = dicts_[container.index];
      for (auto item = begin; item != stack_.end(); item += 2) dict.emplace_back(item[0], item[1]);
    }
    stack_.resize(stack_.size() - under + 1);
    return {};
  }

  Status put(uint32_t slot) {
    if (stack_.empty() || stack_.back().kind == Kind::kMark) return broken("nothing to remember");
    memo_[slot] = stack_.back();
    return {};
  }

  Status get(uint32_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) return broken("a reference to nothing");
    push(found->second);
    return {};
  }

  // A line of text.
  std::string_view take_line() {
    const uint64_t begin = reader_.position();
    const auto rest = pickle_.subspan(begin);
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    const auto num_bytes = static_cast<uint64_t>(end - rest.begin());
    const std::string_view line = reader_.take_text(num_bytes);
    reader_.take(1);
    return line;
  }

  Status push_global() {
    const std::string_view module = take_line();
    const std::string_view name = take_line();
    if (!reader_.ok()) return cut_short();
    const std::string full = fmt::format("{}.{}", module, name);
    const auto found = std::find_if(kGlobals.begin(), kGlobals.end(),
                                    [&](const Global& global) { return global.name == full; });
    if (found == kGlobals.end()) {
      return error("{}: expected only tensors, found the name {} in its pickle; nothing of it runs",
                   file_, quote_name(full));
    }
    push({Kind::kFunction, 0, static_cast<size_t>(found - kGlobals.begin())});
    return {};
  }

  // The values of a tuple on top of the stack, which is taken off; nullptr where there is none.
  // Valid until the next tuple is made. No copy: one tuple may be used again and again.
  const std::vector<Value>* pop_tuple() {
    if (stack_.empty() || stack_.back().kind != Kind::kTuple) return nullptr;
    const std::vector<Value>* values = &tuples_[stack_.back().index];
    stack_.pop_back();
    return values;
  }

  // ("storage", class, key, device, number of elements)
  Status make_storage() {
    const std::vector<Value>* id = pop_tuple();
    if (id == nullptr || id->size() != 5 || (*id)[0].text != "storage" ||
        (*id)[1].kind != Kind::kFunction || (*id)[2].kind != Kind::kText ||
        (*id)[4].kind != Kind::kNumber || (*id)[4].number < 0) {
      return broken("no description of a storage where one belongs");
    }
    const Global& global = kGlobals[(*id)[1].index];
    if (global.function != Function::kStorageClass) {
      return broken("a storage of no class of storages");
    }
    if ((*id)[2].text.size() > kMaxStorageNameBytes || storages_.size() == kMaxPickledTensors) {
      return error("{}: expected at most {} storages with names of {} bytes, found more", file_,
                   kMaxPickledTensors, kMaxStorageNameBytes);
    }
    storages_.push_back({global.dtype, (*id)[2].text, static_cast<uint64_t>((*id)[4].number)});
    push({Kind::kStorage, 0, storages_.size() - 1});
    return {};
  }

  Status reduce() {
    const std::vector<Value>* arguments = pop_tuple();
    if (arguments == nullptr) return broken("a call without arguments");
    if (stack_.empty() || stack_.back().kind != Kind::kFunction) {
      return error("{}: expected only tensors, found a call of {} in its pickle", file_,
                   name_of(1));
    }
    const Global& global = kGlobals[stack_.back().index];
    stack_.pop_back();
    switch (global.function) {
      case Function::kOrderedDict:
        if (!arguments->empty()) return broken("an OrderedDict with arguments");
        push_dict();
        return {};
      case Function::kRebuildTensor:
        return rebuild_tensor(*arguments);
      case Function::kRebuildParameter:
        if (arguments->empty() || arguments->front().kind != Kind::kTensor) {
          return broken("a parameter without a tensor");
        }
        push(arguments->front());
        return {};
      case Function::kStorageClass:
        break;
    }
    return error("{}: expected only tensors, found a call of {} in its pickle", file_, global.name);
  }

  // The numbers of a tuple of at most kMaxRank, none of them negative.
  std::optional<std::vector<uint64_t>> numbers_of(const Value& value) const {
    if (value.kind != Kind::kTuple) return std::nullopt;
    const std::vector<Value>& items = tuples_[value.index];
    if (items.size() > Safetensors::kMaxRank) return std::nullopt;
    std::vector<uint64_t> numbers;
    for (const Value& item : items) {
      if (item.kind != Kind::kNumber || item.number < 0) return std::nullopt;
      numbers.push_back(static_cast<uint64_t>(item.number));
    }
    return numbers;
  }

  // (storage, offset, shape, strides, requires_grad, hooks), perhaps with metadata
  Status rebuild_tensor(const std::vector<Value>& arguments) {
    if (arguments.size() < 4 || arguments[0].kind != Kind::kStorage ||
        arguments[1].kind != Kind::kNumber || arguments[1].number < 0) {
      return broken("a tensor without a storage");
    }
    const auto shape = numbers_of(arguments[2]), strides = numbers_of(arguments[3]);
    if (!shape || !strides || shape->size() != strides->size()) {
      return broken("a tensor without a shape");
    }
    if (tensors_.size() == kMaxPickledTensors) {
      return error("{}: expected at most {} tensors, found more", file_, kMaxPickledTensors);
    }
    const Storage& storage = storages_[arguments[0].index];
    tensors_.push_back({"", storage.dtype, std::string(storage.key), storage.num_elems,
                        static_cast<uint64_t>(arguments[1].number), *shape, *strides});
    push({Kind::kTensor, 0, tensors_.size() - 1});
    return {};
  }

  Result<std::vector<PickledTensor>> tensors_of(const Dict& dict) const {
    std::map<std::string_view, size_t> place_of;
    std::vector<PickledTensor> tensors;
    for (const auto& [key, value] : dict) {
      if (key.kind != Kind::kText) {
        return error("{}: expected names as keys of the dictionary, found {}", file_,
                     kKindNames[static_cast<size_t>(key.kind)]);
      }
      if (value.kind != Kind::kTensor) {
        return error("{}: tensor {}: expected a tensor, found {}", file_, quote_name(key.text),
                     kKindNames[static_cast<size_t>(value.kind)]);
      }
      const auto [place, is_new] = place_of.try_emplace(key.text, tensors.size());
      if (is_new) tensors.emplace_back();
      tensors[place->second] = tensors_[value.index];
      tensors[place->second].name = key.text;
    }
    return tensors;
  }

  ByteReader reader_;
  std::span<const std::byte> pickle_;
  const std::string& file_;
  std::vector<Value> stack_;
  std::map<uint32_t, Value> memo_;
  std::vector<std::vector<Value>> tuples_;
  std::vector<Dict> dicts_;
  std::vector<Storage> storages_;
  std::vector<PickledTensor> tensors_;
};

}  // namespace

Result<std::vector<PickledTensor>> read_torch_pickle(std::span<const std::byte> pickle,
                                                     const std::string& file) {
  if (pickle.size() > kMaxPickleBytes) {
    return error("{}: expected a pickle of at most {} bytes, found {}", file, kMaxPickleBytes,
                 pickle.size());
  }
  return Machine(pickle, file).run();
}

}  // namespace skein
