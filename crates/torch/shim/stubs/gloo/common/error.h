// The exceptions of gloo, by which ranks.cpp tells a lost peer from other errors. See algorithm.h.
#pragma once
#include <stdexcept>

namespace gloo {
struct Exception : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct IoException : public Exception {
  using Exception::Exception;
};
}  // namespace gloo
