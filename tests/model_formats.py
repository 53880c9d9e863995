"""Model files in the formats and under the names that other programs use. Standard library only.

A model here is a dict {BlinkDL's name: (dtype, shape, bytes)} in the order of a file, dtype as .safetensors names it.
"""
import collections
import io
import json
import pickle
import sys
import types
import zipfile

from skein_program import MODEL, ProgramTest, read_safetensors, safetensors_bytes

LOW_RANK = tuple(f"att.{matrix}{number}" for matrix in "wavg" for number in "12")
MIXES = "rwkvag"


def read_model(path):
    header, data = read_safetensors(path)
    return {name: (entry["dtype"], entry["shape"], data[entry["data_offsets"][0]:entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def safetensors(model):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, values) in model.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    return safetensors_bytes(header, data)


def transposed(tensor):
    dtype, (rows, cols), values = tensor
    size = len(values) // (rows * cols)
    elements = [values[i:i + size] for i in range(0, len(values), size)]
    return dtype, [cols, rows], b"".join(elements[row * cols + col] for col in range(cols) for row in range(rows))


def is_low_rank(name):
    return name.endswith(LOW_RANK)


def web_rwkv(model):
    """Low-rank matrices transposed, as its converter writes them."""
    return {name: transposed(tensor) if is_low_rank(name) else tensor for name, tensor in model.items()}


def fused(tensors):
    """Six mixes as one tensor [6, C]."""
    dtype, shape, _ = tensors[0]
    return dtype, [len(tensors), shape[-1]], b"".join(values for _, _, values in tensors)


def hugging_face(model, fuse=False):
    """Names and orientation of fla; with `fuse` those of its first version, which had six mixes in one tensor."""
    top = {"emb.weight": "model.embeddings.weight", "head.weight": "lm_head.weight",
           "ln_out.weight": "model.norm.weight", "ln_out.bias": "model.norm.bias"}
    parts = {"ln0": "pre_norm", "ln1": "attn_norm", "ln2": "ffn_norm", "att.ln_x": "attn.g_norm"}
    projections = {"receptance": "r_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
    renamed, mixes = {}, {}
    for name, tensor in model.items():
        if name in top:
            renamed[top[name]] = tensor
            continue
        _, layer, rest = name.split(".", 2)
        stem, suffix = rest.rsplit(".", 1)
        kind = stem.split(".")[-1] if "." in stem else ""
        if stem in parts:
            rest = f"{parts[stem]}.{suffix}"
        elif rest.startswith("att.") and kind in projections:
            rest = f"attn.{projections[kind]}.{suffix}"
        elif rest.startswith("att.x_") and fuse:
            mixes.setdefault(layer, {})[rest[-1]] = tensor
            continue
        elif rest.startswith("att.") and len(rest) == 6 and rest[-1] in "012":
            number = {"0": "2.bias", "1": "0.weight", "2": "2.weight"}[rest[-1]]
            tensor = tensor if rest[-1] == "0" else transposed(tensor)
            rest = f"attn.{rest[4]}_lora.lora.{number}"
        else:
            rest = rest.replace("att.", "attn.")
        renamed[f"model.layers.{layer}.{rest}"] = tensor
    for layer, of_layer in mixes.items():
        renamed[f"model.layers.{layer}.attn.x_x"] = fused([of_layer[mix] for mix in MIXES])
    return renamed


def ggml(model):
    """Names, orientation and stacked mixes of llama.cpp; types stay."""
    top = {"emb.weight": "token_embd.weight", "head.weight": "output.weight", "ln_out.weight": "output_norm.weight",
           "ln_out.bias": "output_norm.bias", "blocks.0.ln0.weight": "token_embd_norm.weight",
           "blocks.0.ln0.bias": "token_embd_norm.bias"}
    stems = {"ln1": "attn_norm", "ln2": "attn_norm_2", "att.ln_x": "time_mix_ln", "ffn.key": "channel_mix_key",
             "ffn.value": "channel_mix_value", "ffn.x_k": "channel_mix_lerp_k", "att.receptance": "time_mix_receptance",
             "att.key": "time_mix_key", "att.value": "time_mix_value", "att.output": "time_mix_output"}
    renamed, mixes = {}, {}
    for name, tensor in model.items():
        if name in top:
            renamed[top[name]] = tensor
            continue
        _, layer, rest = name.split(".", 2)
        if rest.startswith("att.x_"):
            mixes.setdefault(layer, {})[rest[-1]] = tensor
            continue
        stem, dot, suffix = rest.rpartition(".")
        if suffix not in ("weight", "bias"):
            stem, suffix = rest, "weight"
        if is_low_rank(rest):
            tensor = transposed(tensor)
        elif len(tensor[1]) != 2 or stem == "att.r_k":
            elements = 1
            for extent in tensor[1]:
                elements *= extent
            tensor = (tensor[0], [elements], tensor[2])
        renamed[f"blk.{layer}.{stems.get(stem) or 'time_mix_' + stem[4:]}.{suffix}"] = tensor
    for layer, of_layer in mixes.items():
        dtype, shape, values = fused([of_layer[mix] for mix in MIXES])
        renamed[f"blk.{layer}.time_mix_lerp_fused.weight"] = (dtype, [shape[0], 1, 1, shape[1]], values)
    return renamed


class _Named:
    """Something that pickles as a global name; calling it is what the pickle asks for and nobody does here."""

    def __init__(self, module, name):
        self.__module__, self.__name__, self.__qualname__ = module, name, name

    def __call__(self, *arguments):
        raise AssertionError("nothing is rebuilt here")

    def __reduce__(self):
        return self.__qualname__


class _Storage:
    def __init__(self, of_class, key, count):
        self.of_class, self.key, self.count = of_class, key, count


class _Tensor:
    def __init__(self, rebuild, arguments):
        self.rebuild, self.arguments = rebuild, arguments

    def __reduce__(self):
        return self.rebuild, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if not isinstance(obj, _Storage):
            return None
        return "storage", obj.of_class, obj.key, "cpu", obj.count


def _torch_names():
    """Modules that look like torch's to a pickler, for as long as it runs."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch._utils = utils
    for name in ("FloatStorage", "HalfStorage", "BFloat16Storage"):
        setattr(torch, name, _Named("torch", name))
    utils._rebuild_tensor_v2 = _Named("torch._utils", "_rebuild_tensor_v2")
    return torch, utils


def pth(model, ordered=True):
    """What torch.save writes for a dict of tensors: a zip of stored entries, a pickle of protocol 2."""
    classes = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2)}
    torch, utils = _torch_names()
    known = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        state = collections.OrderedDict() if ordered else {}
        for key, (name, (dtype, shape, values)) in enumerate(model.items()):
            of_class, size = classes[dtype]
            strides, stride = [], 1
            for extent in reversed(shape):
                strides.insert(0, stride)
                stride *= extent
            storage = _Storage(getattr(torch, of_class), str(key), len(values) // size)
            state[name] = _Tensor(utils._rebuild_tensor_v2, (storage, 0, tuple(shape), tuple(strides), False,
                                                             collections.OrderedDict()))
        code = io.BytesIO()
        _Pickler(code, protocol=2).dump(state)
    finally:
        for name, module in known.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", code.getvalue())
        archive.writestr("model/byteorder", "little")
        for key, (_, _, values) in enumerate(model.values()):
            archive.writestr(f"model/data/{key}", values)
        archive.writestr("model/version", "3\n")
    return file.getvalue()


def write_shards(model, folder, count=3):
    """model.safetensors.index.json and its shards; the path of the index."""
    names = list(model)
    weight_map = {}
    for shard in range(count):
        file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        part = names[shard * len(names) // count:(shard + 1) * len(names) // count]
        (folder / file).write_bytes(safetensors({name: model[name] for name in part}))
        weight_map.update((name, file) for name in part)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


class ModelFileTest(ProgramTest):
    """The shipped model as files of its own."""
    IDS = "0,50,600,3,77,250,8,8"

    @classmethod
    def setUpClass(cls):
        cls.model = read_model(MODEL)

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def logits(self, path, quiet=True):
        return self.succeed("logits", "-m", path, "--ids", self.IDS, "-o", "-", quiet=quiet)
