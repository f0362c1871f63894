//! Sentences by the real MiniLM, against Python's transformers.

mod needs_python {
    mod needs_minilm {
        use dualmd_encoders::SentenceEncoder;
        use dualmd_torch::Device;
        use dualmd_torch::weights::read_safetensors;
        use std::path::Path;
        use std::process::Command;

        /// The real all-MiniLM-L6-v2, which `cargo xtask features` fetches.
        #[test]
        #[ignore = "needs Python with torch and transformers, and MiniLM: `cargo xtask features`, then `cargo xtask test --interop`"]
        fn sentences_of_the_real_minilm_equal_those_of_transformers() {
            let variable = |name: &str| {
                std::env::var_os(name).unwrap_or_else(|| {
                    panic!("{name} is not set; `cargo xtask test --interop` sets it")
                })
            };
            let (python, folder) = (
                variable("DUALMD_TEST_PYTHON"),
                variable("DUALMD_TEST_MINILM"),
            );
            let dir = tempfile::tempdir().unwrap();
            let made = dir.path().join("sentences.safetensors");
            let script = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../interop/make_sentence_golden.py"
            );
            let output = Command::new(python)
                .args([script.as_ref(), "--of".as_ref(), folder.as_os_str()])
                .arg(&made)
                .env("OMP_NUM_THREADS", "1")
                .env_remove("LD_LIBRARY_PATH")
                .output()
                .expect("Python starts");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success(), "{said}");
            let texts = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/golden/sentence/sentences.json"
            );
            let texts: Vec<String> =
                serde_json::from_slice(&std::fs::read(texts).unwrap()).unwrap();
            let encoder = SentenceEncoder::load(Path::new(&folder), Device::Cpu).unwrap();
            let theirs = &read_safetensors(&made).unwrap()["sentences"];
            let furthest = (encoder.encode(&texts).unwrap() - theirs).abs().max();
            assert!(furthest.double_value(&[]) < 1e-5, "{furthest:?}");
            println!("furthest {:e}", furthest.double_value(&[]));
        }
    }
}
