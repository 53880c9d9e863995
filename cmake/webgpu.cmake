# Finds wgpu-native for src/backend/webgpu. `./dev` puts it into build/deps/wgpu; another build of it is named with
# SKEIN_WGPU_ROOT: a folder with webgpu.h, wgpu.h and the library, or with include/ and lib/. Only the headers are
# needed to build: the library is loaded at run time.
option(SKEIN_WEBGPU "Build the WebGPU backend where wgpu-native's headers are found" ON)
set(SKEIN_WGPU_ROOT "" CACHE PATH "wgpu-native: webgpu.h, wgpu.h and the library (empty: build/deps/wgpu)")

# Said by ./dev, so that a build folder configures itself anew when the library has come.
set(SKEIN_WGPU_FETCHED OFF CACHE BOOL "Whether build/deps/wgpu is complete")

# Only the names for Linux have been tried.
if(WIN32)
  set(SKEIN_WGPU_LIBRARY_NAME wgpu_native.dll)
elseif(APPLE)
  set(SKEIN_WGPU_LIBRARY_NAME libwgpu_native.dylib)
else()
  set(SKEIN_WGPU_LIBRARY_NAME libwgpu_native.so)
endif()

# Not cached: a library that appears or goes is noticed by the next configuration.
unset(SKEIN_WGPU_INCLUDE_DIR CACHE)
unset(SKEIN_WGPU_LIBRARY CACHE)
set(SKEIN_WGPU_INCLUDE_DIR "")
set(SKEIN_WGPU_LIBRARY "")
if(SKEIN_WEBGPU)
  set(roots ${SKEIN_WGPU_ROOT} ${PROJECT_SOURCE_DIR}/build/deps/wgpu)
  foreach(root IN LISTS roots)
    foreach(suffix "" /include /include/webgpu)
      if(NOT SKEIN_WGPU_INCLUDE_DIR AND EXISTS ${root}${suffix}/webgpu.h AND EXISTS ${root}${suffix}/wgpu.h)
        set(SKEIN_WGPU_INCLUDE_DIR ${root}${suffix})
      endif()
    endforeach()
    foreach(suffix "" /lib /bin)
      if(NOT SKEIN_WGPU_LIBRARY AND EXISTS ${root}${suffix}/${SKEIN_WGPU_LIBRARY_NAME})
        set(SKEIN_WGPU_LIBRARY ${root}${suffix}/${SKEIN_WGPU_LIBRARY_NAME})
      endif()
    endforeach()
  endforeach()
  if(NOT SKEIN_WGPU_INCLUDE_DIR)
    message(STATUS "No wgpu-native (webgpu.h and wgpu.h) in ${roots}: built without the WebGPU backend")
  endif()
endif()
