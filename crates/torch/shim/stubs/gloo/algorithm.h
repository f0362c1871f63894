// Stands for the header of gloo that libtorch's ProcessGroupGloo.hpp includes and the wheels do not have. See ranks.cpp.
#pragma once
