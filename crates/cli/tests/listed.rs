//! `dualmd list attacks` and `dualmd list presets` print what is kept in `crates/front/src/listed`, so that they need no libtorch.
//! `DUALMD_WRITE_DOCS=1 cargo test -p dualmd-cli --test listed` writes it again after an attack or a network has changed.

use dualmd::listing;
use std::path::Path;

#[test]
fn what_is_kept_is_what_attacks_and_networks_say() {
    let json = serde_json::to_string(&listing::attacks().unwrap()).unwrap() + "\n";
    let all = [
        ("attacks.txt", listing::attacks_text().unwrap()),
        ("attacks.json", json),
        ("presets.txt", listing::presets_text().unwrap()),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../front/src/listed");
    for (name, says) in all {
        let file = folder.join(name);
        if std::env::var_os("DUALMD_WRITE_DOCS").is_some() {
            std::fs::write(&file, &says).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            kept, says,
            "crates/front/src/listed/{name} is not what attacks and networks say; write it again with DUALMD_WRITE_DOCS=1"
        );
    }
}
