"""Model files as llama.cpp has them, with matrices in ggml's block codecs. Needs the package gguf (with numpy); where it is
missing, `gguf` is None and NO_GGUF says why.
"""
import model_formats as formats

try:
    import gguf
    import numpy as np
except ImportError as reason:
    gguf, NO_GGUF = None, str(reason)


class GgufFileTest(formats.ModelFileTest):
    TYPES = {"F32": "<f4", "F16": "<f2"}

    def array(self, tensor):
        dtype, shape, values = tensor
        return np.frombuffer(values, self.TYPES[dtype]).reshape(shape)

    def write_gguf(self, tensors, arch="rwkv7", tokens=None, head_size=64):
        """`tensors`: {ggml's name: (array, codec or None)}."""
        path = self.folder / "m.gguf"
        writer = gguf.GGUFWriter(path, arch)
        writer.add_embedding_length(256)
        writer.add_wkv_head_size(head_size)
        writer.add_layer_norm_eps(1e-5)
        if tokens is not None:
            writer.add_tokenizer_model("rwkv")
            writer.add_token_list([text for text, _ in tokens])
            writer.add_token_types([kind for _, kind in tokens])
        for name, (array, codec) in tensors.items():
            if codec is None:
                writer.add_tensor(name, array)
            else:
                writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType[codec])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def as_llama_cpp(self, model, half="F16"):
        """Vectors in f32, matrices in `half`; and the same numbers as a .safetensors file."""
        same = {}
        for name, tensor in model.items():
            matrix = len(tensor[1]) == 2 and not name.endswith("r_k")
            array = self.array(tensor)
            array = array if matrix and half == "F16" else array.astype(np.float32)
            same[name] = ("F16" if array.dtype == np.float16 else "F32", tensor[1], array.tobytes())
        return same

    def blocks_of(self, array, codec, rng):
        """Rows of blocks: what the package makes of the values, or, of codecs that it only decodes, any codes."""
        kind = gguf.GGMLQuantizationType[codec]
        try:
            return gguf.quants.quantize(array, kind)
        except NotImplementedError:
            pass
        _, num_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (array.size // 256, num_bytes), dtype=np.uint8)
        for at in {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}[codec]:
            size = array.std() / (600 if codec != "Q6_K" else 2000) * (1 if at != 2 else 6)
            values = rng.normal(size, size / 9, len(blocks)).astype(np.float16)
            blocks[:, at:at + 2] = values.view(np.uint8).reshape(-1, 2)
        return blocks.reshape(array.shape[0], -1)

    def coded(self, codec_of, rng):
        """({ggml's name: (array, codec)}, {BlinkDL's name: values in f32}): every large matrix in the codec that codec_of
        gives for BlinkDL's name; and all tensors as a .safetensors file would have them."""
        plain = self.as_llama_cpp(self.model)
        tensors = {n: (self.array(t), None) for n, t in formats.ggml(plain).items()}
        values = {}
        for name in plain:
            if not name.endswith((".weight", "emb")) or len(plain[name][1]) != 2:
                continue
            codec = codec_of(name)
            array = self.array(plain[name]).astype(np.float32)
            blocks = self.blocks_of(array, codec, rng)
            values[name] = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[codec]).reshape(array.shape)
            tensors[next(iter(formats.ggml({name: plain[name]})))] = (blocks, codec)
        return tensors, values, plain

    def twin(self, plain, values, half=()):
        """A .safetensors file of the same values: in f16 those of `half`, the others in f32."""
        same = dict(plain)
        for name, array in values.items():
            dtype = np.float16 if name in half else np.float32
            same[name] = ("F16" if name in half else "F32", plain[name][1], array.astype(dtype).tobytes())
        return self.write("same.safetensors", formats.safetensors(same))
