//! What a training knows of its images: where their pixels lie, who is on which side, and the words that go with them. No ids, no names and
//! no groups: of a million images they would take some hundred megabytes.

use super::prepare::{Images, too_few};
use super::text::{self, Told};
use anyhow::Result;
use dualmd_data::{Pixels, Selected};
use std::collections::{BTreeMap, HashMap};

/// The images of a training. They are called by their places in a list, which the file of the pixels has the order of.
pub struct TrainImages {
    /// Where they come from, as the user wrote it.
    pub source: String,
    /// Their pixels, in a file.
    pub pixels: Pixels,
    /// Who is a member, of which half, and who is not.
    pub selected: Selected,
    /// Those that nobody else sees, in the order in which they are taken.
    pub outside: Vec<usize>,
    /// What is told of each.
    pub words: Words,
    /// Hash of the split.
    pub split_hash: String,
}

impl TrainImages {
    /// Of images that were read whole, of which none is outside the split. `told`: what the training tells its network of them.
    #[must_use]
    pub fn of(images: Images, told: Told) -> Self {
        let split_hash = images.split.hash().to_owned();
        let (set, pixels) = images.listing.into_parts();
        let mut words = Collected::default();
        for record in set.records {
            let (captions, label) = (record.captions, record.label.as_deref());
            words.push(told, captions, label, &record.name);
        }
        Self {
            source: set.source,
            pixels,
            selected: images.selected,
            outside: Vec::new(),
            words: words.end(),
            split_hash,
        }
    }

    /// The first `n` of the images that nobody else sees.
    ///
    /// # Errors
    /// There are too few.
    pub fn outside(&self, n: usize) -> Result<&[usize]> {
        let there = self.outside.len();
        self.outside
            .get(..n)
            .ok_or_else(|| too_few(n, &self.source, there))
    }

    /// What is told of an image: its captions, the main one first, or its class.
    ///
    /// # Errors
    /// It has none, or nothing is told of these images.
    pub fn words(&self, image: usize) -> Result<&[String]> {
        let words = self.words.of(image);
        match (words.is_empty(), self.words.told) {
            (false, _) => Ok(words),
            (true, Told::Class) => Err(text::unlabelled(&self.source, self.words.name(image))),
            (true, _) => Err(text::captionless(&self.source, self.words.name(image))),
        }
    }
}

/// What is told of each image: texts or classes, each list of them once, and four bytes for each image.
pub struct Words {
    told: Told,
    lists: Vec<Vec<String>>,
    of: Vec<u32>,
    /// Names of images that nothing can be told of.
    lacking: BTreeMap<usize, String>,
}

impl Words {
    fn of(&self, image: usize) -> &[String] {
        let list = self.of.get(image).and_then(|&i| self.lists.get(i as usize));
        list.map(Vec::as_slice).unwrap_or_default()
    }

    fn name(&self, image: usize) -> &str {
        self.lacking.get(&image).map_or("", String::as_str)
    }
}

/// Words as they come, image by image.
#[derive(Default)]
pub struct Collected {
    told: Option<Told>,
    known: HashMap<Vec<String>, u32>,
    of: Vec<u32>,
    lacking: BTreeMap<usize, String>,
}

impl Collected {
    /// The next image. `told`: what is told of it, the same of all.
    pub fn push(&mut self, told: Told, captions: Vec<String>, label: Option<&str>, name: &str) {
        self.told = Some(told);
        let words = match told {
            Told::Nothing => return,
            Told::Captions => captions,
            Told::Class => text::class_in(label)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        };
        if words.is_empty() {
            self.lacking.insert(self.of.len(), name.to_owned());
        }
        // As many lists as images at most.
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.of.push(*self.known.entry(words).or_insert(next));
    }

    /// All of them.
    #[must_use]
    pub fn end(mut self) -> Words {
        let mut lists = vec![Vec::new(); self.known.len()];
        for (words, at) in self.known {
            if let Some(list) = lists.get_mut(at as usize) {
                *list = words;
            }
        }
        self.of.shrink_to_fit();
        Words {
            told: self.told.unwrap_or(Told::Nothing),
            lists,
            of: self.of,
            lacking: self.lacking,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(told: Told) -> Words {
        let mut words = Collected::default();
        for (captions, label) in [
            (vec!["a", "b"], Some("cat ")),
            (vec!["a"], None),
            (vec!["a", "b"], Some("dog")),
            (vec![], Some("cat")),
        ] {
            let captions = captions.into_iter().map(str::to_owned).collect();
            let name = format!("{}.png", words.of.len());
            words.push(told, captions, label, &name);
        }
        words.end()
    }

    #[test]
    fn words_are_held_once() {
        let captions = collected(Told::Captions);
        assert_eq!(captions.lists.len(), 3);
        assert_eq!(captions.of(0), ["a", "b"]);
        assert_eq!(captions.of(1), ["a"]);
        assert_eq!(captions.of(2), captions.of(0));
        assert!(captions.of(3).is_empty() && captions.of(4).is_empty());
        assert_eq!((captions.name(3), captions.name(0)), ("3.png", ""));
        let classes = collected(Told::Class);
        assert_eq!(classes.lists.len(), 3);
        assert_eq!(classes.of(3), ["cat"]);
        assert_eq!(classes.of(0), ["cat"]);
        assert_eq!(classes.of(2), ["dog"]);
        assert_eq!(classes.name(1), "1.png");
        let nothing = collected(Told::Nothing);
        assert!(nothing.lists.is_empty() && nothing.of.is_empty());
    }
}
