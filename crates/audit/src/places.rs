//! A report that may leave the house says nothing of places: names of folders and files may be those of people.
//!
//! The plan says where images and models lie, in the command that repeats the work and elsewhere, and notes quote it. What stood there is
//! still to be seen, as `<MEMBERS>` or `<PATH>`. Numbers stay, and words of the program, names of models and of bundled image sets.

use serde_json::{Map, Value};

use crate::report::{Pictures, Report};

/// Image sets that are part of the program.
const BUNDLED: [&str; 2] = ["fashion", "emoji"];

/// Flags without a value: what follows them is an argument of its own.
const ALONE: [&str; 10] = [
    "-q",
    "-v",
    "-vv",
    "--quiet",
    "--verbose",
    "--json",
    "--summary",
    "--no-images",
    "--redact",
    "--check",
];

/// Flags whose values are words or numbers of the program.
const WORDS: [&str; 19] = [
    "--alpha",
    "--attacks",
    "--batch",
    "--compat",
    "--device",
    "--dtype",
    "--fail-on",
    "--features",
    "--guidance",
    "--images",
    "--known-fraction",
    "--log-format",
    "--preset",
    "--sampler",
    "--seed",
    "--steps",
    "--threads",
    "--until",
    "--weights",
];

/// Entries of a plan that stay as they are.
const KEPT: [&str; 4] = ["auditor", "cpu", "licence", "created"];

impl Report {
    /// The same without what shows or names single images: pictures, texts, most exposed members, which images are copies of
    /// which. Without places as well: where folders and files lie, in the command, the plan and the notes. The name of the run and those of its
    /// models stay, which may be the last part of a folder's name. All counts, rates and intervals
    /// stay. For a report that leaves the house.
    #[must_use]
    pub fn without_images(mut self) -> Self {
        self.images_left_out = true;
        hide(&mut self);
        self.exposed.clear();
        for model in &mut self.models {
            model.pictures = Pictures::default();
            for copying in &mut model.copying {
                copying.pairs.clear();
            }
            if let Some(agreement) = &mut model.agreement {
                agreement.found_by_several.clear();
            }
        }
        self
    }
}

/// Takes the places out of a report.
fn hide(report: &mut Report) {
    let mut places = Vec::new();
    if let Some(run) = report.run.as_object_mut() {
        // A file of settings has comments, too.
        run.remove("experiment_toml");
        origin(run, &mut places);
        let audits = run.get_mut("compared").and_then(Value::as_array_mut);
        for audit in audits.into_iter().flatten() {
            if let Some(audit) = audit.as_object_mut() {
                audit.remove("folder");
                origin(audit, &mut places);
            }
        }
    }
    places.retain(|(place, _)| !place.is_empty());
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
    entries(&mut report.run, "", &places);
    let models = &mut report.models;
    let own = models.iter_mut().flat_map(|m| {
        let reasons = m.results.iter_mut().filter_map(|r| r.reason.as_mut());
        m.warnings.iter_mut().chain(reasons)
    });
    let notes = report.warnings.iter_mut().chain(&mut report.missing);
    for text in own.chain(notes).chain(&mut report.verdict.void) {
        *text = sentence(text, &places);
    }
}

/// Takes the places out of the command and the source of a plan, or of an audit that a comparison put in; they are added to `places`.
fn origin(plan: &mut Map<String, Value>, places: &mut Vec<(String, String)>) {
    let line = plan.get("command").and_then(Value::as_str);
    let hidden = line.and_then(|line| command(line, places));
    match hidden {
        Some(hidden) => plan.insert("command".into(), hidden.into()),
        None => plan.remove("command"),
    };
    let source = plan.get_mut("data").and_then(|data| data.get_mut("source"));
    if let Some(Value::String(text)) = source {
        *text = images(text, places);
    }
}

/// A command without its places, which are added to `places` with what stands for them; none where it is no command line of this
/// program, such as a call in Python.
fn command(line: &str, places: &mut Vec<(String, String)>) -> Option<String> {
    let all = words(line);
    if all.first().map(String::as_str) != Some("dualmd") {
        return None;
    }
    // What is no flag's is a model of an audit.
    let alone = match all.get(1).map(String::as_str) {
        Some("audit") => "--model",
        _ => "",
    };
    let mut out: Vec<String> = Vec::new();
    let mut flag = alone;
    for (at, word) in all.iter().enumerate() {
        let (name, given) = match word.split_once('=') {
            Some((name, given)) if name.starts_with('-') => (name, Some(given)),
            _ => (word.as_str(), None),
        };
        if at < 2 && word.bytes().all(|b| b.is_ascii_lowercase()) {
            out.push(word.clone());
        } else if let Some(given) = given {
            out.push(format!("{name}={}", noted(name, given, places)));
            flag = alone;
        } else if name.starts_with('-') && name.parse::<f64>().is_err() {
            out.push(word.clone());
            flag = if ALONE.contains(&name) { alone } else { name };
        } else {
            out.push(noted(flag, word, places));
            flag = alone;
        }
    }
    Some(out.join(" "))
}

/// What is shown of a value; where that is something else, both are added to `places`.
fn noted(flag: &str, value: &str, places: &mut Vec<(String, String)>) -> String {
    let shown = stands_for(flag, value);
    if shown != value {
        places.push((value.to_owned(), shown.clone()));
    }
    shown
}

/// What is shown of the value of a flag; of an argument without one `flag` is empty, or what it is the same as.
fn stands_for(flag: &str, value: &str) -> String {
    let word = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "@+,-_.:".contains(c);
        text.chars().all(plain)
    };
    if value.parse::<f64>().is_ok() || bundled(value) || (WORDS.contains(&flag) && word(value)) {
        return value.to_owned();
    }
    if let Some((name, setting)) = value.split_once('=') {
        // NAME=FOLDER, FORM=PATH or KEY=VALUE.
        let number = setting.parse::<f64>().is_ok() || ["true", "false"].contains(&setting);
        if word(name) && number {
            return value.to_owned();
        }
        if word(name) {
            return format!("{name}=<PATH>");
        }
    }
    let name = match flag {
        "" => "PATH",
        "--pair" | "--model" => "MODEL",
        "-o" => "OUT",
        flag => flag.trim_start_matches('-'),
    };
    format!("<{}>", name.to_uppercase())
}

/// `data.source` of a plan: of an audit "members A, non-members B", of a run one place or the name of a bundled set.
fn images(text: &str, places: &mut Vec<(String, String)>) -> String {
    let sides = text
        .strip_prefix("members ")
        .and_then(|rest| rest.split_once(", non-members "));
    let mut shown = |place: &str, name: &str| match bundled(place) {
        true => place.to_owned(),
        false => {
            places.push((place.to_owned(), name.to_owned()));
            name.to_owned()
        }
    };
    match sides {
        Some((members, others)) => format!(
            "members {}, non-members {}",
            shown(members, "<MEMBERS>"),
            shown(others, "<NONMEMBERS>")
        ),
        None => shown(text, "<IMAGES>"),
    }
}

/// Is this a set that everybody has, or a part of one?
fn bundled(place: &str) -> bool {
    let set = place.split('#').next().unwrap_or_default();
    BUNDLED.contains(&set)
}

/// Every text of a plan.
fn entries(value: &mut Value, key: &str, places: &[(String, String)]) {
    match value {
        Value::String(text) if !KEPT.contains(&key) => {
            // A plain name may be any word, such as that of a model.
            let known = places.iter().find(|known| known.0 == *text);
            if let Some((_, shown)) = known.filter(|(place, _)| is_path(place)) {
                text.clone_from(shown);
            } else if key == "generated" {
                "<GENERATED>".clone_into(text);
            } else if key == "name" || key == "compared" {
                *text = without_way(text);
            } else if key != "command" && key != "source" && is_path(text) {
                "<PATH>".clone_into(text);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|v| entries(v, key, places)),
        Value::Object(fields) => {
            for (key, field) in fields {
                entries(field, key, places);
            }
        }
        _ => {}
    }
}

/// Does it lead somewhere?
fn is_path(text: &str) -> bool {
    text.contains(['/', '\\'])
}

/// "a/b, c with d/e (unix:/f)" as "b, c with e": names without the way to them, and without what stands behind them.
fn without_way(text: &str) -> String {
    let last = |part: &str| -> String {
        let part = match part.split_once(" (") {
            Some((name, place)) if is_path(place) => name,
            _ => part,
        };
        let end = part.trim_end_matches('/').rsplit('/').next();
        end.unwrap_or_default().to_owned()
    };
    let parts = text.split(", ").map(|part| {
        let names: Vec<String> = part.split(" with ").map(last).collect();
        names.join(" with ")
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// A note without places: those that are known, and whatever begins like a path.
fn sentence(text: &str, places: &[(String, String)]) -> String {
    let mut out = text.to_owned();
    for (place, shown) in places {
        let bare = place.split('#').next().unwrap_or(place);
        for place in [place.as_str(), bare, bare.trim_end_matches('/')] {
            if is_path(place) && place.len() > 1 {
                out = out.replace(place, shown);
            } else if !place.is_empty() {
                // A plain name may be any word: where it is quoted with what was found in it, it begins the note.
                let (found, hidden) = (format!("{place}: "), format!("{shown}: "));
                if let Some(rest) = out.strip_prefix(&found) {
                    out = format!("{hidden}{rest}");
                }
                out = out.replace(&format!(": {found}"), &format!(": {hidden}"));
            }
        }
    }
    let leads = |word: &str| {
        let word = word.trim_start_matches(['(', '"', '\'']);
        let from = ["/", "./", "../", "~/"];
        word.len() > 1 && from.iter().any(|from| word.starts_with(from))
    };
    let words = out.split(' ').map(|word| match leads(word) {
        true => "<PATH>",
        false => word,
    });
    without_files(words.collect::<Vec<_>>().join(" "))
}

/// A note on files of an image set without their names, which stand at its end: "2 left out, of no ending that is read: a, b".
fn without_files(note: String) -> String {
    let after = |words: &str| Some(note.find(words)? + words.len());
    let list = match after(" left out, ") {
        Some(why) => note[why..].find(": ").map(|colon| why + colon + 2),
        None => after(" files were read: "),
    };
    match list {
        Some(at) => format!("{}<NAMES>", &note[..at]),
        None => note,
    }
}

/// The words of a command line, without the marks by which a shell keeps them together.
fn words(line: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            '\'' if !escaped => quoted = !quoted,
            '\\' if !quoted && !escaped => {
                escaped = true;
                continue;
            }
            ' ' if !quoted && !escaped => out.push(String::new()),
            c => {
                if let Some(last) = out.last_mut() {
                    last.push(c);
                }
            }
        }
        escaped = false;
    }
    out.retain(|word| !word.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hidden(line: &str) -> Option<String> {
        command(line, &mut Vec::new())
    }

    #[test]
    fn a_command_keeps_its_flags_and_shows_no_place() {
        assert_eq!(
            hidden(
                "dualmd audit models/anna --members 'photos/of anna/' --nonmembers=others -o audit -q --attacks loss,sima@50 --images 64 \
                 --seed 3 --auditor 'A. Name' --also junit=out/anna.xml"
            )
            .as_deref(),
            Some(
                "dualmd audit <MODEL> --members <MEMBERS> --nonmembers=<NONMEMBERS> -o <OUT> -q --attacks loss,sima@50 --images 64 --seed 3 \
                 --auditor <AUDITOR> --also junit=<PATH>"
            )
        );
        assert_eq!(
            hidden("dualmd audit --pair anna bert --model a=x --members fashion#member --check models/c").as_deref(),
            Some(
                "dualmd audit --pair <MODEL> <MODEL> --model a=<PATH> --members fashion#member --check <MODEL>"
            )
        );
        assert_eq!(
            hidden("dualmd run mine.toml --preset demo --set train.steps=3 --set data.source=anna --out runs/anna").as_deref(),
            Some("dualmd run <PATH> --preset demo --set train.steps=3 --set data.source=<PATH> --out <OUT>")
        );
        // A call in another language is not understood, so nothing of it is shown.
        assert_eq!(hidden("dualmd.audit('anna', members='photos')"), None);
        assert_eq!(words(r"a 'b c' 'd'\''e'"), ["a", "b c", "d'e"]);
    }

    /// Each audit of a comparison keeps when and by whom, and loses where.
    #[test]
    fn audits_of_a_comparison_show_no_place() {
        let audit = json!({"name": "before", "folder": "anna", "created": "2026-11-24T05:09:00Z", "auditor": "A/B",
            "command": "dualmd audit m/anna --members photos/anna --nonmembers heldout -o out", "versions": {"dualmd": "0.1.0"},
            "data": {"source": "members photos/anna, non-members heldout"}});
        let mut report: Report = serde_json::from_value(json!({
            "schema": 1, "models": [], "run": {"command": "dualmd compare before=anna b -o x", "compared": [audit]},
            "warnings": ["before: photos/anna: 3 images were scaled"],
        }))
        .unwrap();
        hide(&mut report);
        assert_eq!(
            report.run["compared"],
            json!([{"name": "before", "created": "2026-11-24T05:09:00Z", "auditor": "A/B",
                "command": "dualmd audit <MODEL> --members <MEMBERS> --nonmembers <NONMEMBERS> -o <OUT>",
                "versions": {"dualmd": "0.1.0"}, "data": {"source": "members <MEMBERS>, non-members <NONMEMBERS>"}}])
        );
        let text = serde_json::to_string(&report).unwrap();
        assert!(!text.contains("anna"), "{text}");
    }

    #[test]
    fn plan_and_notes_show_no_place() {
        let run = json!({
            "name": "models/anna-lora, b", "command": "dualmd audit model --reference m/anna --members photos/anna#member --nonmembers heldout -o out",
            "data": {"source": "members photos/anna#member, non-members heldout", "members": 64, "licence": "MIT/Apache-2.0"},
            "audit": {"generated": "anna", "attacks": ["loss"]}, "experiment_toml": "source = \"/home/anna\"",
            "models": [{"name": "model", "model": {"config": {"_name_or_path": "/home/anna/m"}}}], "hardware": {"cpu": "x/y"},
            "compared": ["before (audits/anna)", "audits/june"], "seed": 7,
        });
        let mut report: Report = serde_json::from_value(json!({
            "schema": 1, "run": run, "models": [],
            "warnings": ["photos/anna: 3 images were scaled", "heldout: 2 more", "held out in /home/anna/x too", "k/n of heldout stays",
                "m: members: 2 left out, of no ending that is read: anna.pdf, b", "members: 1 of 2 files were read: anna-train.tar"],
        }))
        .unwrap();
        hide(&mut report);
        let text = serde_json::to_string(&report).unwrap();
        let lower = text.replace("anna-lora", "");
        assert!(!lower.contains("anna"), "{text}");
        assert_eq!(
            report.run["data"]["source"],
            "members <MEMBERS>, non-members <NONMEMBERS>"
        );
        assert_eq!(report.run["name"], "anna-lora, b");
        assert_eq!(report.run["compared"], json!(["before", "june"]));
        assert_eq!(report.run["models"][0]["name"], "model");
        assert_eq!(report.run["data"]["licence"], "MIT/Apache-2.0");
        assert_eq!(
            report.warnings,
            [
                "<MEMBERS>: 3 images were scaled",
                "<NONMEMBERS>: 2 more",
                "held out in <PATH> too",
                "k/n of heldout stays",
                "m: members: 2 left out, of no ending that is read: <NAMES>",
                "members: 1 of 2 files were read: <NAMES>"
            ]
        );
    }
}
