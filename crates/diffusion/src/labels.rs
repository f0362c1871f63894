//! The classes that a class-conditional network is told.
//!
//! diffusers' `UNet2DModel` has an embedding for each class (`num_class_embeds`) and no names. Names are in `model_index.json`, as
//! `id2label`, which is where diffusers' `DiTPipeline` has them. Where there are more embeddings than names, the first after them stands for
//! no label: classifier-free guidance asks with it, and training tells it now and then in a label's place. A `DiTTransformer2DModel` says how
//! many classes there are (`num_embeds_ada_norm`), and has one embedding more in any case.

use crate::unet2d::WIDEST;
use crate::{Condition, DiffusionError, Result};
use dualmd_torch::Tensor;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a network without an embedding for it is told where no label is meant: no class has it, so that the network refuses it.
const NOT_THERE: i64 = -1;
/// Classes that a message lists.
const LISTED: usize = 12;

/// The classes of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Names of the classes 0, 1, ...; none where the folder does not say.
    names: Vec<String>,
    /// How many there are; those after the names are known by their numbers.
    classes: i64,
    /// The number that stands for no label, of a network that has one.
    none: Option<i64>,
}

impl Labels {
    /// `names`: of the classes in their order, or none; `embeddings`: the network's `num_class_embeds`.
    ///
    /// # Errors
    /// More names than embeddings; a name twice.
    pub fn new(names: Vec<String>, embeddings: i64) -> Result<Self> {
        if names.len() as i64 > embeddings {
            return Err(DiffusionError::Config(format!(
                "{} classes have a name and the network has {embeddings} embeddings (num_class_embeds): give each class one",
                names.len()
            )));
        }
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DiffusionError::Config(format!(
                "two classes are named \"{}\": give each a name of its own",
                twice[0]
            )));
        }
        let classes = match names.len() as i64 {
            0 => embeddings,
            named => named,
        };
        Ok(Self {
            names,
            classes,
            none: (classes < embeddings).then_some(classes),
        })
    }

    /// Of a network that counts its `classes` and has an embedding for no label after them. `names`: of the first of them, or none.
    /// Several may have one name, as two of ImageNet's are a "crane": each of these is known by its number.
    ///
    /// # Errors
    /// More names than classes.
    pub fn beside_none(names: Vec<String>, classes: i64) -> Result<Self> {
        if names.len() as i64 > classes {
            return Err(DiffusionError::Config(format!(
                "{} classes have a name and the network has {classes} (num_embeds_ada_norm): give each class one",
                names.len()
            )));
        }
        Ok(Self {
            names,
            classes,
            none: Some(classes),
        })
    }

    /// The names in `id2label` of a model_index.json, `{"0": "cat", "1": "dog"}` or a list; none where it has no such key.
    ///
    /// # Errors
    /// Numbers that do not count from 0; names that are no text.
    pub(crate) fn names_of(index: &Value) -> Result<Vec<String>> {
        let wrong = |what: &str| {
            Err(DiffusionError::Config(format!(
                "id2label {what}: it names the classes 0, 1, 2, ... as {{\"0\": \"cat\", \"1\": \"dog\"}} does"
            )))
        };
        let of = |name: Option<&Value>| name.and_then(Value::as_str).map(str::to_owned);
        let found: Option<Vec<String>> = match index.get("id2label") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|name| of(Some(name))).collect(),
            Some(Value::Object(map)) if map.len() <= WIDEST as usize => (0..map.len())
                .map(|class| of(map.get(&class.to_string())))
                .collect(),
            Some(_) => return wrong("is no table of names"),
        };
        match found {
            Some(names) => Ok(names),
            None => wrong("lacks a class, or names one by what is no text"),
        }
    }

    /// `id2label` of a model_index.json; `None` where the classes have no names.
    pub(crate) fn id2label(&self) -> Option<Value> {
        let names = self.names.iter().enumerate();
        let named: serde_json::Map<String, Value> = names
            .map(|(class, name)| (class.to_string(), name.as_str().into()))
            .collect();
        (!named.is_empty()).then_some(Value::Object(named))
    }

    /// Names of the classes; none where they are known by their numbers alone.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What each class is called: by its name, or by its number where it has none of its own.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for name in &self.names {
            *times.entry(name).or_default() += 1;
        }
        let names = self.names.iter().map(String::as_str).map(Some);
        let names = names.chain(std::iter::repeat(None));
        (0..self.classes)
            .zip(names)
            .map(|(class, name)| match name {
                Some(name) if times.get(name) == Some(&1) => name.to_owned(),
                _ => class.to_string(),
            })
            .collect()
    }

    /// How many classes there are.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.classes
    }

    /// The number that stands for no label; `None` of a network that has none.
    #[must_use]
    pub fn none(&self) -> Option<i64> {
        self.none
    }

    /// The class that a text names: by its name, by its number, or by one of the names that a name lists with commas, as those of
    /// ImageNet do ("great white shark, white shark"; diffusers' `DiTPipeline.get_label_ids`). An empty text names no class.
    ///
    /// # Errors
    /// A text that names none of them, or several.
    pub fn of(&self, text: &str) -> Result<i64> {
        if text.is_empty() {
            return Ok(self.none.unwrap_or(NOT_THERE));
        }
        if let Some(class) = self.only(text, |name| name == text)? {
            return Ok(class);
        }
        let number = text.parse::<i64>().ok();
        if let Some(class) = number.filter(|n| (0..self.classes).contains(n)) {
            return Ok(class);
        }
        let listed = |name: &str| name.split(',').any(|one| one.trim() == text);
        if let Some(class) = self.only(text, listed)? {
            return Ok(class);
        }
        let known = match self.names.len() {
            0 => format!(
                "it knows classes by their numbers, 0 to {}",
                self.classes - 1
            ),
            n => {
                let more = if n > LISTED { ", ..." } else { "" };
                let first: Vec<&str> = self.names.iter().take(LISTED).map(String::as_str).collect();
                format!("its {n} classes are {}{more}", first.join(", "))
            }
        };
        Err(DiffusionError::Config(format!(
            "the model has no class \"{text}\": {known}"
        )))
    }

    /// The one class whose name `is` it; none where there is none.
    fn only(&self, text: &str, is: impl Fn(&str) -> bool) -> Result<Option<i64>> {
        let mut found = (0i64..).zip(&self.names).filter(|(_, name)| is(name));
        match (found.next(), found.next()) {
            (Some((one, _)), Some((other, _))) => Err(DiffusionError::Config(format!(
                "the classes {one} and {other} are both named \"{text}\": name the one that is meant by its number"
            ))),
            (first, _) => Ok(first.map(|(class, _)| class)),
        }
    }

    /// The classes that texts name, one row each.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn told(&self, texts: &[&str]) -> Result<Condition> {
        let labels: Vec<i64> = texts
            .iter()
            .map(|text| self.of(text))
            .collect::<Result<_>>()?;
        Ok(Condition::of_labels(Tensor::from_slice(&labels)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(names: &[&str], embeddings: i64) -> Result<Labels> {
        Labels::new(names.iter().map(|n| (*n).to_owned()).collect(), embeddings)
    }

    #[test]
    fn classes_are_found_by_name_and_by_number() {
        let labels = named(&["cat", "dog", "7"], 4).unwrap();
        assert_eq!((labels.count(), labels.none()), (3, Some(3)));
        let of = |text: &str| labels.of(text).unwrap();
        assert_eq!([of("dog"), of("1"), of("7"), of("")], [1, 1, 2, 3]);
        let said = labels.of("bird").unwrap_err().to_string();
        assert!(
            said.contains("\"bird\"") && said.contains("cat, dog, 7"),
            "{said}"
        );
        // The embedding for no label is no class that a text could name.
        assert!(labels.of("3").is_err() && labels.of("-1").is_err());
        let told = labels.told(&["7", "cat", ""]).unwrap().label.unwrap();
        assert_eq!(Vec::<i64>::try_from(told).unwrap(), [2, 0, 3]);
    }

    #[test]
    fn without_names_every_embedding_is_a_class() {
        let labels = named(&[], 10).unwrap();
        assert_eq!((labels.count(), labels.none()), (10, None));
        assert_eq!(labels.of("9").unwrap(), 9);
        assert!(labels.of("10").is_err());
        // The network refuses it, if it is ever asked.
        assert_eq!(labels.of("").unwrap(), NOT_THERE);
        let full = named(&["a", "b"], 2).unwrap();
        assert_eq!(full.none(), None);
    }

    #[test]
    fn a_network_that_counts_its_classes_has_one_embedding_more() {
        let list =
            |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
        let numbered = Labels::beside_none(list(&[]), 3).unwrap();
        assert_eq!((numbered.count(), numbered.none()), (3, Some(3)));
        assert_eq!(numbered.all(), ["0", "1", "2"]);
        assert_eq!(
            [numbered.of("2").unwrap(), numbered.of("").unwrap()],
            [2, 3]
        );
        assert!(numbered.of("3").is_err());

        let names = ["great white shark, white shark", "crane", "crane, lifter"];
        let labels = Labels::beside_none(list(&names), 5).unwrap();
        assert_eq!((labels.count(), labels.none()), (5, Some(5)));
        assert_eq!(labels.all(), [names[0], names[1], names[2], "3", "4"]);
        let of = |text: &str| labels.of(text).unwrap();
        // A whole name comes before a part of one.
        assert_eq!([of("white shark"), of("crane"), of("lifter")], [0, 1, 2]);
        assert_eq!([of(names[0]), of("4")], [0, 4]);
        assert!(labels.of("white").is_err());
        assert!(Labels::beside_none(list(&names), 2).is_err());

        let twice = Labels::beside_none(list(&["crane", "crane", "dog"]), 3).unwrap();
        let said = twice.of("crane").unwrap_err().to_string();
        assert!(
            said.contains("0 and 1") && said.contains("number"),
            "{said}"
        );
        // What each is called names it.
        assert_eq!(twice.all(), ["0", "1", "dog"]);
        for (class, name) in (0..).zip(twice.all()) {
            assert_eq!(twice.of(&name).unwrap(), class);
        }
    }

    #[test]
    fn names_are_read_and_written_as_id2label() {
        let names = |value| Labels::names_of(&value);
        assert_eq!(names(json!({})).unwrap(), Vec::<String>::new());
        let eleven: Vec<String> = (0..11).map(|i| format!("class {i}")).collect();
        let labels = Labels::new(eleven.clone(), 12).unwrap();
        let index = json!({ "id2label": labels.id2label() });
        assert_eq!(names(index).unwrap(), eleven);
        assert_eq!(names(json!({"id2label": ["a", "b"]})).unwrap(), ["a", "b"]);
        assert!(named(&[], 3).unwrap().id2label().is_none());
        for broken in [json!({"1": "a"}), json!({"0": 5}), json!("a"), json!([1])] {
            let said = names(json!({ "id2label": broken })).unwrap_err();
            assert!(said.to_string().contains("id2label"), "{said}");
        }
        assert!(named(&["a", "b"], 1).is_err());
        assert!(named(&["a", "b", "a"], 3).is_err());
    }
}
