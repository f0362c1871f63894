//! JSON whose keys stand in alphabetical order at every depth, written as it is made: no tree of the values is held.
//!
//! The bytes are those of `serde_json::to_value` and then `serde_json::to_vec_pretty`. An object is looked at first, which gives its
//! keys. Where they come in order it is written in one go. Otherwise it is serialized once for each key, in alphabetical order, and
//! all but that key is passed over: nothing below is serialized twice. Only what is rare goes through a tree: objects of many keys in no
//! order, and variants with content.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::ser::{self, Serialize, Serializer};
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter};

/// Most keys of an object that is serialized once for each of them.
const FEW: usize = 64;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritten {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The value is no JSON.
    #[error(transparent)]
    Value(#[from] serde_json::Error),
}

impl ser::Error for Unwritten {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Value(ser::Error::custom(message))
    }
}

type Result<T> = std::result::Result<T, Unwritten>;

/// Writes a value.
///
/// # Errors
/// What `out` gives; a value that is no JSON.
pub(crate) fn write<T: Serialize + ?Sized>(out: &mut dyn Write, value: &T) -> Result<()> {
    Text::new(out).value(value)
}

/// Writes a value; an object has the key `name` as well, with this number and in its place.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_with<T: Serialize + ?Sized>(
    out: &mut dyn Write,
    value: &T,
    name: &str,
    number: u32,
) -> Result<()> {
    let form = value.serialize(Pass(Task::Look))?;
    let sorted = match &form {
        Form::Object(keys) => keys.sorted(),
        _ => None,
    };
    let Some(mut sorted) = sorted else {
        let mut tree = serde_json::to_value(value)?;
        if let Value::Object(fields) = &mut tree {
            fields.insert(name.to_owned(), number.into());
        }
        return write(out, &tree);
    };
    if let Err(place) = sorted.binary_search(&name) {
        sorted.insert(place, name);
    }
    let mut text = Text::new(out);
    text.format.begin_object(&mut *text.out)?;
    for (at, key) in sorted.into_iter().enumerate() {
        if key == name {
            text.entry(key, &number, at == 0)?;
        } else {
            text.entries(value, Some(key), at == 0)?;
        }
    }
    Ok(text.format.end_object(&mut *text.out)?)
}

/// What a value is in JSON.
enum Form {
    /// A number, a text, true, false or null.
    Scalar,
    /// A list.
    List,
    /// An object with these keys.
    Object(Keys),
    /// What goes through a tree.
    Other,
}

/// Keys of an object, as they come.
#[derive(Default)]
struct Keys {
    names: Vec<Cow<'static, str>>,
    /// One is not greater than the one before it.
    disordered: bool,
}

impl Keys {
    fn push(&mut self, name: Cow<'static, str>) {
        self.disordered |= self.names.last().is_some_and(|last| *last >= name);
        self.names.push(name);
    }

    /// In order, if they are few and no two alike.
    fn sorted(&self) -> Option<Vec<&str>> {
        if self.names.len() > FEW {
            return None;
        }
        let mut sorted: Vec<&str> = self.names.iter().map(|name| &**name).collect();
        sorted.sort_unstable();
        let differ = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        differ.then_some(sorted)
    }
}

/// What is written so far.
struct Text<'o> {
    out: &'o mut dyn Write,
    format: PrettyFormatter<'static>,
}

impl<'o> Text<'o> {
    fn new(out: &'o mut dyn Write) -> Self {
        Self {
            out,
            format: PrettyFormatter::new(),
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match value.serialize(Pass(Task::Look))? {
            // By a value of its own, which is how a tree holds it: a 32-bit float has the digits of a 64-bit one.
            Form::Scalar => {
                let scalar = serde_json::to_value(value)?;
                Ok(serde_json::to_writer(&mut *self.out, &scalar)?)
            }
            Form::List => {
                self.format.begin_array(&mut *self.out)?;
                value.serialize(Pass(Task::Elements(&mut *self)))?;
                Ok(self.format.end_array(&mut *self.out)?)
            }
            Form::Object(keys) => self.object(value, &keys),
            Form::Other => self.tree(value),
        }
    }

    fn tree<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let tree = serde_json::to_value(value)?;
        self.value(&tree)
    }

    fn object<T: Serialize + ?Sized>(&mut self, value: &T, keys: &Keys) -> Result<()> {
        let sorted = match keys.disordered {
            false => None,
            true => match keys.sorted() {
                None => return self.tree(value),
                sorted => sorted,
            },
        };
        self.format.begin_object(&mut *self.out)?;
        match sorted {
            None => self.entries(value, None, true)?,
            Some(sorted) => {
                for (at, key) in sorted.into_iter().enumerate() {
                    self.entries(value, Some(key), at == 0)?;
                }
            }
        }
        Ok(self.format.end_object(&mut *self.out)?)
    }

    /// The entries of an object, or the one that is called `only`. `first`: none is written yet.
    fn entries<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        only: Option<&str>,
        first: bool,
    ) -> Result<()> {
        let text = &mut *self;
        value.serialize(Pass(Task::Entries { text, only, first }))?;
        Ok(())
    }

    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T, first: bool) -> Result<()> {
        self.format.begin_object_key(&mut *self.out, first)?;
        serde_json::to_writer(&mut *self.out, key)?;
        self.format.end_object_key(&mut *self.out)?;
        self.format.begin_object_value(&mut *self.out)?;
        self.value(value)?;
        Ok(self.format.end_object_value(&mut *self.out)?)
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T, first: bool) -> Result<()> {
        self.format.begin_array_value(&mut *self.out, first)?;
        self.value(value)?;
        Ok(self.format.end_array_value(&mut *self.out)?)
    }
}

/// What a value is serialized for.
enum Task<'a, 'o> {
    /// To say what it is.
    Look,
    /// To write the elements of a list.
    Elements(&'a mut Text<'o>),
    /// To write the entries of an object, or one of them.
    Entries {
        text: &'a mut Text<'o>,
        only: Option<&'a str>,
        first: bool,
    },
}

/// Goes over a value once, no deeper than its elements or entries.
struct Pass<'a, 'o>(Task<'a, 'o>);

impl<'a, 'o> Pass<'a, 'o> {
    fn walk(self, form: Form) -> Walk<'a, 'o> {
        let first = match &self.0 {
            Task::Entries { first, .. } => *first,
            _ => true,
        };
        Walk {
            task: self.0,
            first,
            name: Cow::Borrowed(""),
            form,
        }
    }
}

/// One by one through a list or an object.
struct Walk<'a, 'o> {
    task: Task<'a, 'o>,
    /// Nothing is written yet.
    first: bool,
    /// The key whose value comes next.
    name: Cow<'static, str>,
    form: Form,
}

impl Walk<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let Task::Elements(text) = &mut self.task else {
            return Ok(());
        };
        text.element(value, std::mem::take(&mut self.first))
    }

    fn entry<T: Serialize + ?Sized>(&mut self, name: Cow<'static, str>, value: &T) -> Result<()> {
        match &mut self.task {
            Task::Entries { text, only, .. } => {
                let wanted = match *only {
                    None => true,
                    Some(only) => only == &*name,
                };
                if wanted {
                    text.entry(&name, value, std::mem::take(&mut self.first))?;
                }
            }
            _ => {
                if let Form::Object(keys) = &mut self.form {
                    keys.push(name);
                }
            }
        }
        Ok(())
    }
}

/// A key of a map as JSON has it: a text.
fn name_of<T: Serialize + ?Sized>(key: &T) -> Result<String> {
    // A map of this one key says what serde_json makes of it.
    let map = serde_json::to_value(OneKey(key))?;
    let name = map.as_object().and_then(|fields| fields.keys().next());
    name.cloned()
        .ok_or_else(|| ser::Error::custom("a key that is no text"))
}

/// A map with one key.
struct OneKey<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for OneKey<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, ())])
    }
}

macro_rules! scalars {
    ($($method:ident: $of:ty),* $(,)?) => {
        $(fn $method(self, _: $of) -> Result<Form> {
            Ok(Form::Scalar)
        })*
    };
}

impl<'a, 'o> Serializer for Pass<'a, 'o> {
    type Ok = Form;
    type Error = Unwritten;
    type SerializeSeq = Walk<'a, 'o>;
    type SerializeTuple = Walk<'a, 'o>;
    type SerializeTupleStruct = Walk<'a, 'o>;
    type SerializeTupleVariant = Walk<'a, 'o>;
    type SerializeMap = Walk<'a, 'o>;
    type SerializeStruct = Walk<'a, 'o>;
    type SerializeStructVariant = Walk<'a, 'o>;

    scalars! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_unit_struct: &'static str,
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Form> {
        Ok(Form::Other)
    }

    fn serialize_none(self) -> Result<Form> {
        Ok(Form::Scalar)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Form> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Form> {
        Ok(Form::Scalar)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Form> {
        Ok(Form::Scalar)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Form> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Form> {
        Ok(Form::Other)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Walk<'a, 'o>> {
        Ok(self.walk(Form::List))
    }

    fn serialize_tuple(self, _: usize) -> Result<Walk<'a, 'o>> {
        Ok(self.walk(Form::List))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Walk<'a, 'o>> {
        Ok(self.walk(Form::List))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Walk<'a, 'o>> {
        Ok(self.walk(Form::Other))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Walk<'a, 'o>> {
        Ok(self.walk(Form::Object(Keys::default())))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Walk<'a, 'o>> {
        Ok(self.walk(Form::Object(Keys::default())))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Walk<'a, 'o>> {
        Ok(self.walk(Form::Other))
    }
}

/// Ways through a value that differ in their names, and in whether an entry's key comes with it. Of a variant with content only what it is
/// is asked for.
macro_rules! walks {
    ($($way:ident: $method:ident($($key:ident)?) by $step:ident,)*) => {
        $(impl ser::$way for Walk<'_, '_> {
            type Ok = Form;
            type Error = Unwritten;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<()> {
                self.$step($(Cow::Borrowed($key),)? value)
            }

            fn end(self) -> Result<Form> {
                Ok(self.form)
            }
        })*
    };
}

walks! {
    SerializeSeq: serialize_element() by element,
    SerializeTuple: serialize_element() by element,
    SerializeTupleStruct: serialize_field() by element,
    SerializeTupleVariant: serialize_field() by element,
    SerializeStruct: serialize_field(key) by entry,
    SerializeStructVariant: serialize_field(key) by entry,
}

impl ser::SerializeMap for Walk<'_, '_> {
    type Ok = Form;
    type Error = Unwritten;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.name = Cow::Owned(name_of(key)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let name = std::mem::take(&mut self.name);
        self.entry(name, value)
    }

    fn end(self) -> Result<Form> {
        Ok(self.form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;
    use std::collections::{BTreeMap, HashMap};

    fn written<T: Serialize + ?Sized>(value: &T) -> String {
        let mut out = Vec::new();
        write(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn through_a_tree<T: Serialize + ?Sized>(value: &T) -> String {
        serde_json::to_string_pretty(&serde_json::to_value(value).unwrap()).unwrap()
    }

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct New(u8);

    #[derive(Serialize)]
    struct Pair(&'static str, f32);

    #[derive(Serialize)]
    enum Kind {
        Bare,
        New(Vec<u8>),
        Pair(u8, Option<u8>),
        #[serde(rename = "with fields")]
        Fields {
            z: u8,
            a: (),
        },
    }

    #[derive(Serialize)]
    struct Below {
        z: Vec<Vec<i64>>,
        a: BTreeMap<u8, bool>,
    }

    #[derive(Serialize)]
    struct All {
        zebra: Option<f64>,
        ant: Option<u64>,
        text: String,
        unit: Unit,
        nothing: (),
        new: New,
        pair: Pair,
        kinds: Vec<Kind>,
        none: BTreeMap<String, u8>,
        empty: [u8; 0],
        not_finite: f64,
        small: f32,
        letter: char,
        whole: (i8, i128, u128),
        below: Vec<Below>,
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<u8>,
        #[serde(flatten)]
        flat: Below,
        value: Value,
    }

    fn below() -> Below {
        Below {
            z: vec![vec![], vec![-1, 2]],
            a: BTreeMap::from([(10, true), (9, false)]),
        }
    }

    fn all() -> All {
        All {
            zebra: Some(0.1 + 0.2),
            ant: None,
            text: "a \"quoted\"\n\u{1} ü".into(),
            unit: Unit,
            nothing: (),
            new: New(1),
            pair: Pair("p", 0.1),
            kinds: vec![
                Kind::Bare,
                Kind::New(vec![1, 2]),
                Kind::Pair(3, None),
                Kind::Fields { z: 1, a: () },
            ],
            none: BTreeMap::new(),
            empty: [],
            not_finite: f64::NAN,
            small: 0.1,
            letter: 'x',
            whole: (-1, -7, 8),
            below: vec![below(), below()],
            absent: None,
            flat: below(),
            value: serde_json::json!({"b": [1, {"y": null, "x": 1.5}], "a": {}}),
        }
    }

    #[test]
    fn the_bytes_are_those_of_a_tree() {
        assert_eq!(written(&all()), through_a_tree(&all()));
        assert_eq!(written(&[all(), all()]), through_a_tree(&[all(), all()]));
        assert_eq!(written("text"), "\"text\"");
        assert_eq!(written(&Vec::<u8>::new()), "[]");
        assert_eq!(
            written(&Kind::New(vec![])),
            through_a_tree(&Kind::New(vec![]))
        );
        // Numbers as keys stand in the order of their texts; many keys in no order, and the same key twice.
        for n in [3_u64, 30, 300] {
            let map: HashMap<u64, u64> = (0..n).map(|i| (i * 7, i)).collect();
            assert_eq!(written(&map), through_a_tree(&map));
        }
        struct Twice;
        impl Serialize for Twice {
            fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.collect_map([("b", 1), ("a", 2), ("b", 3)])
            }
        }
        assert_eq!(written(&Twice), through_a_tree(&Twice));
        assert!(written(&Twice).contains("\"b\": 3"));
    }

    #[test]
    fn a_number_is_put_in_its_place() {
        let with = |value: &dyn Fn(&mut Vec<u8>) -> Result<()>| {
            let mut out = Vec::new();
            value(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let mut tree = serde_json::to_value(all()).unwrap();
        tree["schema"] = 7.into();
        let expected = serde_json::to_string_pretty(&tree).unwrap();
        let got = with(&|out| write_with(out, &all(), "schema", 7));
        assert_eq!(got, expected);
        // In the place of what has its name, of nothing, and among many.
        let own = BTreeMap::from([("schema", 1), ("z", 2)]);
        let got = with(&|out| write_with(out, &own, "schema", 7));
        assert_eq!(got, "{\n  \"schema\": 7,\n  \"z\": 2\n}");
        let none = BTreeMap::<String, u8>::new();
        let got = with(&|out| write_with(out, &none, "schema", 7));
        assert_eq!(got, "{\n  \"schema\": 7\n}");
        let many: BTreeMap<String, u32> = (0..100).map(|i| (format!("x{i}"), i)).collect();
        let got = with(&|out| write_with(out, &many, "schema", 7));
        assert!(got.starts_with("{\n  \"schema\": 7,\n  \"x0\": 0,\n  \"x1\": 1,\n  \"x10\""));
        let got = with(&|out| write_with(out, &Kind::New(vec![]), "schema", 7));
        assert_eq!(got, "{\n  \"New\": [],\n  \"schema\": 7\n}");
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let refused = write(&mut Full, &[1]).unwrap_err();
        assert!(matches!(refused, Unwritten::File(_)), "{refused:?}");
        let refused = write(&mut Vec::new(), &BTreeMap::from([(vec![1], 2)]));
        assert!(matches!(refused, Err(Unwritten::Value(_))));
        assert!(matches!(
            write(&mut Vec::new(), &u128::MAX),
            Err(Unwritten::Value(_))
        ));
    }
}
