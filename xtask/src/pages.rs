//! The documents: links that lead somewhere, variables that are named. All of it is tests; `cargo test -p xtask` runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files below `folder` whose names end so, in order; build folders are passed over.
fn below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name != "target" && !name.starts_with('.') => folders.push(path),
                false if name.ends_with(ending) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The pages that people read.
fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = below(&root.join("docs"), ".md");
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "assets/README.md",
        "python/README.md",
    ] {
        pages.push(root.join(name));
    }
    pages
}

/// A page without what stands in blocks of code and between backticks.
fn prose(page: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            // Every second part is between backticks; its length does not matter here.
            out.extend(line.split('`').step_by(2));
        }
        out.push('\n');
    }
    out
}

/// A page as the book shows it: with the files that it includes, and without what is for readers of the files alone.
fn in_the_book(path: &Path) -> String {
    let mut out = String::new();
    for line in read(path).lines() {
        let included = line.strip_prefix("{{#include ");
        match included.and_then(|rest| rest.strip_suffix("}}")) {
            Some(file) => out.push_str(&read(&path.parent().unwrap().join(file))),
            None if line.starts_with("<p class=\"repository\">") => {}
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Where the links and pictures of a page lead.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let parts = prose.split("](").skip(1);
    let mut found: Vec<String> = parts
        .filter_map(|rest| Some(rest.split_once(')')?.0.trim().to_owned()))
        .collect();
    for attribute in ["src=\"", "href=\""] {
        let parts = prose.split(attribute).skip(1);
        found.extend(parts.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    found
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut code = false;
    let mut out = BTreeSet::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        let Some(title) = line.strip_prefix('#').filter(|_| !code) else {
            continue;
        };
        let title = title.trim_start_matches('#').trim();
        // Of a link its text stays.
        let mut text = String::new();
        for (i, part) in title.split("](").enumerate() {
            text.push_str(match i {
                0 => part,
                _ => part.split_once(')').map_or("", |rest| rest.1),
            });
        }
        let slug: String = text
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            })
            .collect();
        let number = seen.entry(slug.clone()).or_default();
        out.insert(match *number {
            0 => slug,
            n => format!("{slug}-{n}"),
        });
        *number += 1;
    }
    out
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let there = target.exists();
            let right = there
                && (anchor.is_empty()
                    || target.extension().is_none_or(|e| e != "md")
                    || anchors(&in_the_book(&target)).contains(anchor));
            if !right {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "links lead nowhere:\n{}",
        wrong.join("\n")
    );
    assert!(followed > 150, "{followed} links were found");
}

#[test]
fn a_link_that_leads_nowhere_would_be_found() {
    let page = "# A `b`: c_d (e)\n[x](y.md#z) `[no](link)`\n```\n[nor](here)\n# no heading\n```\n## A b\n## [A](u) b\n![p](q.png)\n<a href=\"v\">";
    assert_eq!(links(page), ["y.md#z", "u", "q.png", "v"]);
    let found = anchors(page);
    let wanted = ["a-b", "a-b-1", "a-b-c_d-e"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(wanted));
}

/// The pages of the book, as `docs/SUMMARY.md` lists them, from `docs/` on.
fn listed() -> Vec<String> {
    links(&read(&root().join("docs/SUMMARY.md")))
}

/// A path in which no `..` is left, but where it leads out of its beginning.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[test]
fn every_page_is_in_the_book() {
    let docs = root().join("docs");
    let listed = listed();
    for (i, page) in listed.iter().enumerate() {
        assert!(docs.join(page).is_file(), "SUMMARY.md names {page}");
        assert!(!listed[..i].contains(page), "SUMMARY.md names {page} twice");
    }
    for page in below(&docs, ".md") {
        let name = page.strip_prefix(&docs).unwrap().display().to_string();
        assert!(
            name == "SUMMARY.md" || listed.contains(&name),
            "docs/{name} is not in docs/SUMMARY.md"
        );
    }
}

/// A link out of `docs/`, or to a page that is not in the book, is dead there.
#[test]
fn no_link_leaves_the_book() {
    let docs = root().join("docs");
    let listed = listed();
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for page in &listed {
        for link in links(&in_the_book(&docs.join(page))) {
            let path = link.split('#').next().unwrap_or("");
            if path.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let target = normal(&Path::new(page).parent().unwrap().join(path));
            let name = target.display().to_string();
            let there = !target.starts_with("..") && docs.join(&target).is_file();
            if !there || (name.ends_with(".md") && !listed.contains(&name)) {
                wrong.push(format!("docs/{page}: {link}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "links leave the book:\n{}",
        wrong.join("\n")
    );
    assert!(followed > 150, "{followed} links were found");
}

#[test]
fn paths_are_followed_up_and_out() {
    let found = |path: &str| normal(Path::new(path)).display().to_string();
    assert_eq!(found("results/../attacks/./pia.md"), "attacks/pia.md");
    assert_eq!(found("results/../../python"), "../python");
    // What a page includes counts as its own, and what is for the files alone does not.
    let python = in_the_book(&root().join("docs/python.md"));
    assert!(python.contains("## Use") && !python.contains("href=\"../python"));
}

/// Attacks of the table in `docs/attacks/README.md`: variants count once, what is made of many trainings not at all.
#[test]
fn the_readme_counts_the_attacks_of_the_list() {
    let list = read(&root().join("docs/attacks/README.md"));
    let cells = list.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = cells.filter_map(|line| line.split(" |").next());
    let names = cells.flat_map(|cell| cell.split('`').step_by(2));
    let apart =
        |name: &&str| !name.contains('+') && !name.starts_with("lira") && !name.starts_with("rmia");
    let names: BTreeSet<&str> = names.filter(|n| !n.is_empty()).filter(apart).collect();
    let said = format!("[{} attacks](docs/attacks/README.md)", names.len());
    assert!(
        read(&root().join("README.md")).contains(&said),
        "README.md does not say {said}: {names:?}"
    );
}

/// Names of variables of this project in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let own = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let parts = text.split("DUALMD_").skip(1);
    parts
        .map(|rest| rest.split(|c| !own(c)).next().unwrap_or(""))
        .filter(|rest| !rest.is_empty() && !rest.ends_with('_'))
        .map(|rest| format!("DUALMD_{rest}"))
        .collect()
}

/// What the program and the Python package read stands in the guide; what only tests and tools read stands in CONTRIBUTING.md or in the
/// help of `cargo xtask`.
#[test]
fn variables_that_are_read_are_documented() {
    let root = root();
    let all = |files: Vec<PathBuf>| -> BTreeSet<String> {
        let texts = files.iter().map(|path| variables(&read(path)));
        texts.flatten().collect()
    };
    // What build scripts tell the compiler, and tests and examples their own processes, is no variable of a user's.
    let told = [
        "DUALMD_KILLS_MARK",
        "DUALMD_VERSION",
        "DUALMD_BUILT_FROM",
        "DUALMD_LIBTORCH_VERSION",
        "DUALMD_LINKED_LIBTORCH",
        "DUALMD_RANKS_COST_THREADS",
        "DUALMD_TEST_CASE",
        "DUALMD_TEST_FOLDER",
        "DUALMD_TORCH_LIB",
        "DUALMD_TORCH_VERSION",
    ];
    let mut read_by_program = all(below(&root.join("crates"), ".rs"));
    read_by_program.extend(all(below(&root.join("python/dualmd"), ".py")));
    let of_tests = |name: &String| {
        ["TEST", "WRITE", "KILLS", "FUZZ", "MUTANTS", "AUC_STUDY"]
            .iter()
            .any(|kind| name.starts_with(&format!("DUALMD_{kind}")))
    };
    let guide = variables(&read(&root.join("docs/guide.md")));
    let missing: Vec<&String> = read_by_program
        .iter()
        .filter(|name| !told.contains(&name.as_str()) && !of_tests(name))
        .filter(|name| !guide.contains(*name))
        .collect();
    assert!(missing.is_empty(), "docs/guide.md lacks {missing:?}");
    let mut tools = variables(&read(&root.join("CONTRIBUTING.md")));
    tools.extend(variables(crate::HELP));
    let all = all(below(&root.join("crates"), ".rs"));
    let lacking: Vec<&String> = all
        .iter()
        .filter(|name| of_tests(name) && !told.contains(&name.as_str()))
        .filter(|name| !tools.contains(*name))
        .collect();
    assert!(
        lacking.is_empty(),
        "CONTRIBUTING.md and the help lack {lacking:?}"
    );
    // And the guide names none that nothing reads.
    let known = |name: &&String| !all.contains(*name) && !read_by_program.contains(*name);
    let idle: Vec<&String> = guide.iter().filter(known).collect();
    assert!(
        idle.is_empty(),
        "docs/guide.md names {idle:?}, which nothing reads"
    );
}
