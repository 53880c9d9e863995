# cmake -D OUTPUT=file.cc -D FOLDER=shaders -P embed_shaders.cmake
#
# Writes the texts of all .wgsl files below FOLDER as one array of (name, text), the name relative to FOLDER. What the
# array is stands in src/backend/webgpu/shader_library.h.
file(GLOB_RECURSE shaders RELATIVE ${FOLDER} ${FOLDER}/*.wgsl)
list(SORT shaders)
set(text "#include \"backend/webgpu/shader_library.h\"\n\nnamespace skein::webgpu {\n\nconst EmbeddedShader kEmbeddedShaders[] = {\n")
foreach(shader IN LISTS shaders)
  file(READ ${FOLDER}/${shader} body)
  string(APPEND text "    {\"${shader}\", R\"wgsl(${body})wgsl\"},\n")
endforeach()
string(APPEND text "    {nullptr, nullptr}};\n\n}  // namespace skein::webgpu\n")
file(WRITE ${OUTPUT} "${text}")
