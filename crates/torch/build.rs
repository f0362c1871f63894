//! Builds the C++ shim against the libtorch that `cargo xtask setup` chose (or the user's own).
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=shim/unity.cpp");
    println!("cargo:rerun-if-changed=shim/shim.cpp");
    println!("cargo:rerun-if-changed=shim/group_norm_silu.cpp");
    println!("cargo:rerun-if-changed=shim/group_norm_silu.h");
    println!("cargo:rerun-if-changed=shim/kernels.cpp");
    println!("cargo:rerun-if-changed=shim/kernels.h");
    println!("cargo:rerun-if-changed=shim/kernels.inc");
    println!("cargo:rerun-if-changed=shim/profile.cpp");
    println!("cargo:rerun-if-changed=shim/profile.h");
    println!("cargo:rerun-if-changed=shim/ranks.cpp");
    println!("cargo:rerun-if-changed=shim/stubs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_USE_PYTORCH");
    let root = libtorch_root();
    let include = root.join("include");
    if !include.join("ATen/ATen.h").exists() {
        panic!(
            "no libtorch headers under {}: run `cargo xtask setup`, or set LIBTORCH to a libtorch 2.13 folder",
            include.display()
        );
    }
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        .warnings(false)
        // Calls into libtorch; the loops are in kernels.cpp. Line tables of its headers take as long as its code.
        .opt_level(1)
        .debug(false)
        .flag_if_supported("-fopenmp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .include("shim/stubs")
        .file("shim/unity.cpp")
        .file("shim/ranks.cpp");
    build.compile("dualmd_shim");
    // The inner loops: flags that let the compiler vectorise comparisons and sums, NaN still handled as NaN.
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(3)
        .debug(false)
        .flag_if_supported("-fno-math-errno")
        .flag_if_supported("-fno-trapping-math")
        .flag_if_supported("-fopenmp-simd")
        .file("shim/kernels.cpp")
        .compile("dualmd_kernels");
    println!(
        "cargo:rustc-env=DUALMD_LIBTORCH_VERSION={}",
        version(&include)
    );
    let lib = root.join("lib");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    // Not the link that set-up made in the checkout, but where it leads: a program that is moved still finds it.
    let lib = lib.canonicalize().unwrap_or(lib);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:lib={}", lib.display());
    // For a program that says it without being linked with libtorch.
    println!("cargo:version={}", version(&include));
}

/// The version in libtorch's own header, for reports.
fn version(include: &std::path::Path) -> String {
    let text = [
        "torch/headeronly/version.h",
        "torch/csrc/api/include/torch/version.h",
    ]
    .iter()
    .find_map(|p| std::fs::read_to_string(include.join(p)).ok())
    .unwrap_or_default();
    let part = |name: &str| {
        let line = text.lines().find(|l| {
            l.trim_start()
                .starts_with(&format!("#define TORCH_VERSION_{name} "))
        });
        line.and_then(|l| l.split_whitespace().nth(2))
            .unwrap_or("?")
            .to_owned()
    };
    format!("{}.{}.{}", part("MAJOR"), part("MINOR"), part("PATCH"))
}

fn libtorch_root() -> PathBuf {
    if let Some(path) = std::env::var_os("LIBTORCH") {
        return PathBuf::from(path);
    }
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let output = Command::new("python3")
            .args([
                "-c",
                "import os, torch; print(os.path.dirname(torch.__file__))",
            ])
            .output();
        if let Ok(output) = output
            && output.status.success()
        {
            return PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        }
        panic!(
            "LIBTORCH_USE_PYTORCH is set but `python3 -c 'import torch'` fails: install torch 2.13 or unset it"
        );
    }
    panic!("no libtorch: run `cargo xtask setup`, or set LIBTORCH or LIBTORCH_USE_PYTORCH=1");
}
