// How long libtorch's operations take, by their names, each without the operations that it calls.
//
// libtorch tells observers of a thread when an operation begins and ends (ATen/record_function.h), those of the backward pass among
// them, which the CPU computes on the thread that asks for it. The time of each is what lies between, less that of the operations within.
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "profile.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Tally {
  uint64_t calls = 0;
  double seconds = 0;
};

// An operation that has begun and not ended.
struct Open {
  Tally* tally;
  Clock::time_point begin;
  double within;  // seconds of the operations that it called
};

struct Profile {
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
  std::vector<Open> open;
  // References to its values outlive insertions.
  std::unordered_map<std::string, Tally> tallies;
  std::string text;
};

thread_local Profile profile;

std::unique_ptr<at::ObserverContext> begins(const at::RecordFunction& operation) {
  Tally& tally = profile.tallies[operation.name()];
  profile.open.push_back({&tally, Clock::now(), 0.0});
  return nullptr;
}

void ends(const at::RecordFunction&, at::ObserverContext*) {
  // One that began before the profile did.
  if (profile.open.empty()) return;
  Open last = profile.open.back();
  profile.open.pop_back();
  double seconds = std::chrono::duration<double>(Clock::now() - last.begin).count();
  last.tally->calls += 1;
  last.tally->seconds += seconds - last.within;
  if (!profile.open.empty()) profile.open.back().within += seconds;
}

}  // namespace

void profile_begin() {
  TORCH_CHECK(profile.handle == at::INVALID_CALLBACK_HANDLE, "this thread is profiled already");
  profile.open.clear();
  profile.tallies.clear();
  at::RecordFunctionCallback callback(begins, ends);
  callback.scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE});
  profile.handle = at::addThreadLocalCallback(callback);
}

const char* profile_end() {
  if (profile.handle != at::INVALID_CALLBACK_HANDLE) at::removeCallback(profile.handle);
  profile.handle = at::INVALID_CALLBACK_HANDLE;
  profile.text.clear();
  char numbers[64];
  for (const auto& [name, tally] : profile.tallies) {
    if (tally.calls == 0) continue;
    std::snprintf(numbers, sizeof numbers, "%llu %.9f ", static_cast<unsigned long long>(tally.calls), tally.seconds);
    profile.text += numbers;
    profile.text += name;
    profile.text += '\n';
  }
  return profile.text.c_str();
}
