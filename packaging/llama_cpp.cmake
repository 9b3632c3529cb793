# How every build in a checkout builds llama.cpp: `.cargo/config.toml` hands this file to it. Two things save most of a first build.
#
# CMake reads this after each `project()`. llama-cpp-sys-2's own choices stand in the cache by then, hence FORCE.

# llama.cpp's helpers for its own tools (chat parsers, HTTP, downloads): 53 files that take longer to compile than the inference, and nothing in
# Planish calls them. llama-cpp-2 builds them without a way to turn them off; without its feature `common` it does not refer to them either.
set(LLAMA_BUILD_COMMON OFF CACHE BOOL "Planish uses none of it" FORCE)

# One CPU back end, for this machine's processor, instead of one for each of fourteen generations of x86-64. `PLANISH_ALL_CPUS=1`, which releases
# set, and any other system build them all. The back end stays a module that is loaded at run time, so both builds run the same code of Planish.
if (NOT "$ENV{PLANISH_ALL_CPUS}" STREQUAL "1" AND NOT CMAKE_CROSSCOMPILING
    AND CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND EXISTS /proc/cpuinfo)
    file(STRINGS /proc/cpuinfo this_cpu_flags LIMIT_COUNT 1 REGEX "^flags")
    string(APPEND this_cpu_flags " ") # every flag ends with a space

    # A feature of ggml and what Linux calls it; ggml's AVX512 is F, CD, VL, DQ and BW: what has BW has all.
    foreach (feature IN ITEMS SSE42=sse4_2 AVX=avx F16C=f16c FMA=fma AVX2=avx2 BMI2=bmi2 AVX_VNNI=avx_vnni AVX512_VBMI=avx512vbmi
             AVX512_VNNI=avx512_vnni AVX512_BF16=avx512_bf16 AMX_TILE=amx_tile AMX_INT8=amx_int8 AVX512=avx512bw)
        string(REGEX MATCH "^([^=]+)=(.+)$" ignored ${feature})
        set(name ${CMAKE_MATCH_1})
        string(FIND "${this_cpu_flags}" " ${CMAKE_MATCH_2} " at)
        if (at EQUAL -1)
            set(GGML_${name} OFF CACHE BOOL "this processor lacks it" FORCE)
        else()
            set(GGML_${name} ON CACHE BOOL "this processor has it" FORCE)
        endif()
    endforeach()

    # Compilers older than the processor: whatever they do not know is left out.
    include(CheckCXXCompilerFlag)
    foreach (feature IN ITEMS AVX_VNNI=-mavxvnni AVX512_BF16=-mavx512bf16 AMX_TILE=-mamx-tile AMX_INT8=-mamx-int8)
        string(REGEX MATCH "^([^=]+)=(.+)$" ignored ${feature})
        set(name ${CMAKE_MATCH_1})
        check_cxx_compiler_flag(${CMAKE_MATCH_2} THIS_CPU_COMPILES_${name})
        if (NOT THIS_CPU_COMPILES_${name})
            set(GGML_${name} OFF CACHE BOOL "this compiler lacks it" FORCE)
        endif()
    endforeach()

    set(GGML_CPU_ALL_VARIANTS OFF CACHE BOOL "one back end, for this processor" FORCE)
endif()
