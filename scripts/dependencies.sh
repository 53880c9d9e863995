# Installs what dependencies.txt pins. Sourced by ./dev; needs $root.
#
# Goal: nothing is asked of the package manager when nothing is missing. Where there is no apt-get, or no right to use
# it, the missing packages are named and the build goes on: CMake may find the libraries elsewhere.

# The "PACKAGE VERSION" lines of a group.
pins() { awk -v group="$1" '$1 == group { print $2, $3 }' "$root/scripts/dependencies.txt"; }

# Prints the packages of a group that are not installed; warns of versions that nobody has tested.
missing_packages() {
  local package version found
  while read -r package version; do
    found=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$package" 2>/dev/null || true)
    if [[ $found != installed\ * ]]; then
      echo "$package"
      continue
    fi
    found=${found#installed } found=${found#*:}
    if [[ $found != "$version"* ]]; then
      say "$package is $found here, tested with $version"
    fi
  done < <(pins "$1")
}

apt_install() {
  local as_root=()
  if [[ $(id -u) != 0 ]]; then
    if ! command -v sudo >/dev/null; then
      say "missing, and neither root nor sudo to install them: $*"
      return 1
    fi
    as_root=(sudo)
  fi
  local log=$root/build/apt.log
  say "installing with apt-get: $*"
  if ! { ${as_root[@]+"${as_root[@]}"} apt-get update -q &&
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
      apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get could not install: $* (see $log)"
  fi
}

# Makes sure of a group's packages. A stamp newer than dependencies.txt says that they are there.
need() {
  local group=$1 stamp=$root/build/.installed-$1 missing
  [[ $stamp -nt $root/scripts/dependencies.txt ]] && return
  mkdir -p "$root/build"
  if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(missing_packages "$group")
    if [[ ${#missing[@]} -gt 0 ]]; then
      apt_install "${missing[@]}" || return 0
    fi
  else
    say "no apt-get here; needed for this step (Debian's names and versions): $(pins "$group" | tr '\n' ';')"
  fi
  touch "$stamp"
}

# wgpu-native's library and headers into build/deps/wgpu, out of the pinned wheel. Where it cannot be had the build goes
# on without the WebGPU backend; the next call tries again.
fetch_wgpu() {
  local folder=$root/build/deps/wgpu name version hash
  [[ $folder/.fetched -nt $root/scripts/dependencies.txt ]] && return
  read -r name version < <(pins wheel)
  say "fetching $name $version (wgpu-native)"
  mkdir -p "$folder"
  local log=$root/build/deps/wgpu.log requirement="$name==$version"
  while read -r hash _; do requirement+=" --hash=sha256:$hash"; done < <(pins sha256 | awk '{ print $2 }')
  echo "$requirement" >"$folder/requirement.txt"
  if ! { { [[ -x $root/build/deps/venv/bin/pip ]] || python3 -m venv "$root/build/deps/venv"; } &&
    rm -f "$folder"/*.whl && "$root/build/deps/venv/bin/pip" download -q --disable-pip-version-check --no-deps \
    --only-binary :all: --require-hashes --retries 1 --timeout 20 -d "$folder" -r "$folder/requirement.txt" &&
    python3 - "$folder" <<'PYTHON'; } >"$log" 2>&1; then
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
[wheel] = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        base = name.rsplit("/", 1)[-1]
        if base in ("webgpu.h", "wgpu.h") or "wgpu_native-release." in base:
            (folder / base.replace("-release", "")).write_bytes(archive.read(name))
wheel.unlink()
PYTHON
    say "no wgpu-native, so no WebGPU backend (see $log): $(tail -n 1 "$log")"
    return
  fi
  touch "$folder/.fetched"
}
