// Several processes: libtorch's own store over TCP and its process group over gloo.
//
// The class ProcessGroupGloo has to be included, because libtorch exports its constructor and no factory. Its header includes five
// of gloo's that the wheels do not bring; it names their types behind pointers only, so `stubs/` declares what is needed of
// them. The layouts of c10d's classes change with every minor version of libtorch: dm_library_version() is compared first.
//
// Every function returns 0, or one of the codes below with the text in dm_ranks_error().
#define USE_C10D_GLOO
#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/exception.h>

#include <chrono>
#include <string>
#include <type_traits>
#include <vector>

using at::Tensor;

// Of libtorch 2.13 on x86-64, with gloo's own headers and with these stubs. Another number: another libtorch, or a stub that
// changes a layout, and with it memory that is not ours.
static_assert(sizeof(void*) != 8 || sizeof(c10d::ProcessGroupGloo) == 488, "ProcessGroupGloo has another layout than libtorch 2.13's");
static_assert(sizeof(void*) != 8 || sizeof(c10d::ProcessGroupGloo::Options) == 184, "its options have another layout than libtorch 2.13's");
static_assert(std::has_virtual_destructor_v<c10d::Backend>, "a process group is destroyed through its base");

struct dm_store {
  c10::intrusive_ptr<c10d::Store> store;
};

struct dm_group {
  c10::intrusive_ptr<c10d::Store> store;  // Outlives the group; rank 0's is the server.
  c10::intrusive_ptr<c10d::Backend> backend;
};

enum Code { fine = 0, other = 1, timed_out = 2, lost = 3, in_use = 4 };

static thread_local std::string last_text;

static int kind(const std::string& text, int otherwise) {
  std::string small = text;
  for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  auto has = [&](const char* part) { return small.find(part) != std::string::npos; };
  if (has("eaddrinuse") || has("address already in use")) return in_use;
  if (has("timed out") || has("timeout")) return timed_out;
  if (has("connection closed") || has("connection reset") || has("broken pipe") || has("recvbytes failed") || has("recvvalue failed") ||
      has("sendbytes failed") || has("sendvalue failed") || has("failed to recv") || has("failed to send"))
    return lost;
  return otherwise;
}

template <class F>
static int guarded(F&& f) {
  try {
    f();
    return fine;
  } catch (const c10d::TimeoutError& e) {
    last_text = e.what_without_backtrace();
    return timed_out;
  } catch (const c10::DistNetworkError& e) {
    last_text = e.what_without_backtrace();
    return kind(last_text, lost);
  } catch (const c10::Error& e) {
    last_text = e.what_without_backtrace();
    return kind(last_text, other);
  } catch (const gloo::IoException& e) {
    last_text = e.what();
    return kind(last_text, lost);
  } catch (const std::exception& e) {
    last_text = e.what();
    return kind(last_text, other);
  } catch (...) {
    last_text = "an exception without a text";
    return other;
  }
}

static std::vector<Tensor> list(Tensor* const* tensors, size_t n) {
  std::vector<Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) {
    TORCH_CHECK(tensors[i] && tensors[i]->defined() && tensors[i]->is_contiguous() && tensors[i]->device().is_cpu(),
                "a rank can send a contiguous tensor in the memory of the processor only");
    out.push_back(*tensors[i]);
  }
  return out;
}

extern "C" {

const char* dm_ranks_error() { return last_text.c_str(); }

// The version of the libtorch that is loaded, as it says itself; empty if it does not say.
const char* dm_library_version() {
  static const std::string version = [] {
    const std::string text = at::show_config(), key = "TORCH_VERSION=";
    auto at = text.find(key);
    if (at == std::string::npos) return std::string();
    at += key.size();
    return text.substr(at, text.find_first_not_of("0123456789.", at) - at);
  }();
  return version.c_str();
}

// Connects to the store at host:port, or opens it there (`serve`).
int dm_store_open(const char* host, uint16_t port, int serve, const char* prefix, int64_t timeout_ms, dm_store** out) {
  return guarded([&] {
    // Otherwise c10d writes every attempt, with its stack, to standard error.
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve != 0;
    options.waitWorkers = false;
    options.multiTenant = true;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    auto tcp = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
    *out = new dm_store{c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), tcp)};
  });
}

void dm_store_close(dm_store* store) { delete store; }

int dm_store_set(dm_store* store, const char* key, const char* value) {
  return guarded([&] { store->store->set(key, std::string(value)); });
}

int dm_store_has(dm_store* store, const char* key, int* there) {
  return guarded([&] { *there = store->store->check({std::string(key)}); });
}

// The value of a key that is there; valid until this thread's next call.
int dm_store_get(dm_store* store, const char* key, const char** value) {
  return guarded([&] {
    last_text = store->store->get_to_str(key);
    *value = last_text.c_str();
  });
}

// Joins the group: connects to every other rank, from `address`, or from the network interface of this name.
int dm_group_open(dm_store* store, int rank, int world, int64_t timeout_ms, const char* address, const char* interface,
                  dm_group** out) {
  return guarded([&] {
    std::chrono::milliseconds timeout(timeout_ms);
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices = {*interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                   : c10d::ProcessGroupGloo::createDeviceForHostname(address)};
    options->threads = 1;
    auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(store->store, rank, world, options);
    *out = new dm_group{store->store, backend};
  });
}

// How long each later call waits.
int dm_group_set_timeout(dm_group* group, int64_t timeout_ms) {
  return guarded([&] { group->backend->setTimeout(std::chrono::milliseconds(timeout_ms)); });
}

void dm_group_close(dm_group* group) {
  (void)guarded([&] { delete group; });
}

// Sums each tensor over the ranks, in place; all are on their way at once.
int dm_group_sum(dm_group* group, Tensor* const* tensors, size_t n) {
  return guarded([&] {
    std::vector<c10::intrusive_ptr<c10d::Work>> works;
    for (auto& tensor : list(tensors, n)) {
      std::vector<Tensor> one{tensor};
      works.push_back(group->backend->allreduce(one));
    }
    for (auto& work : works) work->wait();
  });
}

// Gives every rank the tensor of rank `from`, in place.
int dm_group_broadcast(dm_group* group, Tensor* tensor, int from) {
  return guarded([&] {
    auto one = list(&tensor, 1);
    c10d::BroadcastOptions options;
    options.rootRank = from;
    group->backend->broadcast(one, options)->wait();
  });
}
}
