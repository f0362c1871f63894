// One translation unit for the files that read libtorch's tensor headers: reading them takes most of the time of compiling each.
#include "shim.cpp"

#include "group_norm_silu.cpp"

#include "profile.cpp"
