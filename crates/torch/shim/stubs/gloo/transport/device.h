// libtorch holds it by pointer only. See algorithm.h.
#pragma once
namespace gloo {
namespace transport {
class Device;
}
}  // namespace gloo
