#!/usr/bin/env bash
# A user outside the tree: installs into a new folder, moves it, builds examples/ against it, runs program and example.
# A skip (77) says why; everything else that goes wrong is a failure.
set -euo pipefail

if [[ -n ${SKEIN_SANITIZE:-} ]]; then
  echo "SKIP: an instrumented library (-fsanitize=$SKEIN_SANITIZE) is not one to install"
  exit 77
fi
if [[ ! -x $SKEIN_PROGRAM ]]; then
  echo "SKIP: the program is not built: $SKEIN_PROGRAM"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset SKEIN_MODELS

# Moved after installing: nothing in it may know where it was installed.
cmake --install "$SKEIN_BINARY_DIR" --prefix "$folder/first" >"$folder/install.log"
mkdir "$folder/a place"
mv "$folder/first" "$folder/a place/skein"
prefix="$folder/a place/skein"

"$prefix/bin/skein" --version
# The program finds its model from where it lies, in any working folder.
(cd / && "$prefix/bin/skein" generate --tokens 8 "Once upon a time") >"$folder/text"
[[ -s $folder/text ]] || { echo "FAIL: the installed program printed nothing"; exit 1; }

cmake -S "$SKEIN_SOURCE_DIR/examples" -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$prefix" >"$folder/configure.log" || { cat "$folder/configure.log"; exit 1; }
cmake --build "$folder/build"

model=$(find "$prefix" -name goose-tiny.safetensors)
"$folder/build/generate" "Once upon a time" "$model" >"$folder/text"
cat "$folder/text"
[[ $(cat "$folder/text") == "Once upon a time"?* ]] || { echo "FAIL: the example generated nothing"; exit 1; }

# Not a file of ours may name the build folder or the source tree.
if grep -rlF -e "$SKEIN_SOURCE_DIR" "$prefix/lib" "$prefix/include" --include='*.cmake' --include='*.h'; then
  echo "FAIL: installed files name the source tree"
  exit 1
fi

# A failure of the world reaches the user's program as a value: one line, no abort.
status=0
"$folder/build/generate" x "$folder/no-such.safetensors" 2>"$folder/error" || status=$?
[[ $status == 1 && $(wc -l <"$folder/error") == 1 ]] || { echo "FAIL: status $status: $(cat "$folder/error")"; exit 1; }
