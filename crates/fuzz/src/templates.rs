//! Whole small folders, as this program writes them, in which an input replaces a file. A fuzzer that had to find the
//! other files too would find nothing else.

use serde_json::{Value, json};

use crate::files::Files;

const MEMBERS: usize = 12;
const NONMEMBERS: usize = 16;

/// A sample id as `split.json` has them.
fn id(member: bool, i: usize) -> String {
    format!("{}{i:030x}", if member { "aa" } else { "bb" })
}

fn text(name: &str, value: &Value) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_string().into_bytes())
}

/// A run of two models and one pair of attacks, with every file that a report reads but pictures.
#[must_use]
pub fn run_folder() -> Files {
    let mut files = Files::new();
    for model in ["baseline", "student"] {
        let mut csv = String::from("sample_id,group,member,attack,score\n");
        for attack in ["loss", "sima"] {
            for i in 0..MEMBERS + NONMEMBERS {
                let member = i < MEMBERS;
                let index = if member { i } else { i - MEMBERS };
                // Any numbers will do: members higher on average, with ties.
                let score = ((i * 7919 + attack.len() * 31) % 17) as f64
                    + 3.5 * f64::from(u8::from(member));
                csv += &format!(
                    "{},,{},{attack},{score:e}\n",
                    id(member, index),
                    u8::from(member)
                );
            }
        }
        files.push((format!("scores/{model}.csv"), csv.into_bytes()));
        let attacks: Vec<Value> = ["loss", "sima"]
            .iter()
            .map(|attack| json!({"attack": attack, "title": attack, "access": "white-box", "network_calls_per_sample": 1.0, "seconds": 1.0, "status": "ok", "reason": null, "parameters": {"t": 100}}))
            .collect();
        files.push(text(
            &format!("scores/{model}.json"),
            &json!({"model": model, "defense": "none", "attacks": attacks, "network_calls_made": 56, "network_calls_saved": 0, "warnings": [], "weights": "ema", "dtype": "f32"}),
        ));
        files.push(text(
            &format!("models/{model}/training.json"),
            &json!({"name": model, "defense": "none", "steps": 10, "batch": 4, "learning_rate": 2e-3, "seed": 7, "split_hash": "5b1f0c", "parameters": 100, "train_loss": 0.05, "member_loss": 0.04, "heldout_loss": 0.05, "seconds": 1.0, "images_per_second": 40.0, "threads": 1, "dtype": "f32", "peak_rss_mb": 100, "teachers": [], "images": 12}),
        ));
        let log = json!({"step": 0, "loss": 0.3, "lr": 2e-3, "grad_norm": 0.4, "images_per_second": 40.0, "member_loss": 0.3, "heldout_loss": 0.3, "seconds": 0});
        files.push((
            format!("logs/{model}.jsonl"),
            format!("{log}\n{log}\n").into_bytes(),
        ));
    }
    let side = |member: bool, n: usize| -> Vec<Value> {
        (0..n)
            .map(|i| match member {
                true => json!({"id": id(true, i), "half": i % 2 + 1, "group": null}),
                false => json!({"id": id(false, i), "group": null}),
            })
            .collect()
    };
    files.push(text(
        "split.json",
        &json!({"schema": 1, "method": "half", "seed": 0, "source": "fashion", "hash": "5b1f0c", "members": side(true, MEMBERS), "nonmembers": side(false, NONMEMBERS)}),
    ));
    files.push(text(
        "controls.json",
        &json!({"blind_baseline": {"auc": 0.52, "auc_ci": [0.44, 0.60], "features": ["mean"], "method": "logistic regression"}}),
    ));
    files.push(text(
        "exposed.json",
        &json!([{"model": "baseline", "attack": "sima", "id": id(true, 0), "png": "exposed/0.png", "score": 1.0, "rank": 1}]),
    ));
    files.push(text(
        "sets/student.json",
        &json!({"features": "pixels", "tests": [{"name": "mmd-pixels", "members": 12, "nonmembers": 16, "statistic": 0.0031, "p_value": 0.2, "permutations": 99}]}),
    ));
    files.push(text("plan.json", &plan()));
    files
}

fn plan() -> Value {
    json!({
        "schema": 1, "name": "demo", "created": "2026-11-24T05:09:12Z", "command": "dualmd run",
        "versions": {"dualmd": "0.1.0", "libtorch": "2.13.0"},
        "hardware": {"cpu": "a processor", "cores": 2, "memory_gb": 15.4, "device": "cpu", "dtype": "f32", "threads_per_model": 1, "parallel_models": 2},
        "seed": 0,
        "data": {"source": "fashion", "image_size": 16, "channels": 1, "records": 40, "duplicates_dropped": 0, "near_duplicate_groups": 0, "members": MEMBERS, "nonmembers": NONMEMBERS, "d1": 6, "d2": 6, "licence": "MIT"},
        "split_hash": "5b1f0c", "model": {"preset": "tiny", "parameters": 100, "config": {"sample_size": 16, "block_out_channels": [16, 32]}},
        "train": {"steps": 10, "batch": 4, "learning_rate": 2e-3, "ema": 0.999},
        "models": [{"name": "baseline", "defense": "none", "needs": []}, {"name": "student", "defense": "distillmd", "needs": []}],
        "audit": {"attacks": ["loss", "sima"], "weights": "ema", "compat": ["secmi"]},
        "experiment_toml": "seed = 0\n",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    #[test]
    fn the_run_folder_becomes_a_report() {
        files::with_folder(&run_folder(), b"", "none.txt", |folder| {
            dualmd_audit::build(folder).unwrap();
        });
    }
}
