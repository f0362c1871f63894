// How long libtorch's operations of this thread take; see profile.cpp.
#pragma once

// Throws where this thread is profiled already.
void profile_begin();

// A line for each operation: how often it was called, seconds, its name. Lives until this thread's next call.
const char* profile_end();
