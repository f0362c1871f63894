//! The stack machine of the few opcodes that a state dict is pickled with.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::Parsed;

/// How deep tuples may lie in each other; a state dict needs two levels.
const DEPTH: usize = 4;

/// How many values a tuple may hold; a state dict needs six.
const WIDTH: usize = 8;

/// Type of the numbers in a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    I64,
}

impl Element {
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::I64 => 8,
        }
    }
}

/// A tensor as a part of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub storage: String,
    pub element: Element,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What can lie on the stack. Dictionaries, lists and views are numbers into the machine's own tables, so that nothing
/// can contain itself; texts and tuples are shared, so that a small file cannot make many copies of a large one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    Tuple(Rc<[Value]>),
    Dict(usize),
    List(usize),
    OrderedDict,
    RebuildTensor,
    Storage(Element),
    /// Key of a storage.
    Data(Rc<str>),
    Tensor(usize),
}

impl Value {
    fn depth(&self) -> usize {
        match self {
            Self::Tuple(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

pub(super) struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    dicts: Vec<Vec<(Value, Value)>>,
    lists: Vec<Vec<Value>>,
    tensors: Vec<View>,
    storages: BTreeMap<String, (Element, usize)>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            dicts: Vec::new(),
            lists: Vec::new(),
            tensors: Vec::new(),
            storages: BTreeMap::new(),
        }
    }

    /// What follows the pickles read so far.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Type and number of elements of a storage that some tensor names.
    pub(super) fn storage(&self, key: &str) -> Option<(Element, usize)> {
        self.storages.get(key).copied()
    }

    /// Whether the dictionary has this text as a key for this truth value.
    pub(super) fn says(&self, dict: usize, key: &str, value: bool) -> bool {
        let wanted = (Value::Text(key.into()), Value::Bool(value));
        self.dicts[dict].contains(&wanted)
    }

    /// The names and views of a dictionary of tensors.
    pub(super) fn views(&self, dict: usize) -> Parsed<Vec<(String, View)>> {
        let mut views = BTreeMap::new();
        for entry in &self.dicts[dict] {
            let (Value::Text(name), Value::Tensor(tensor)) = entry else {
                return Err("holds something else than named tensors; give a state dict".into());
            };
            if views
                .insert(name.to_string(), self.tensors[*tensor].clone())
                .is_some()
            {
                return Err(format!("names tensor {name} twice"));
            }
        }
        Ok(views.into_iter().collect())
    }

    /// The texts of a list.
    pub(super) fn texts(&self, list: usize) -> Parsed<Vec<Rc<str>>> {
        let text = |value: &Value| match value {
            Value::Text(text) => Ok(Rc::clone(text)),
            _ => Err("has something else than text for the name of a storage".into()),
        };
        self.lists[list].iter().map(text).collect()
    }

    /// Reads one pickle.
    pub(super) fn run(&mut self) -> Parsed<Value> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let [op] = self.take()?;
            match op {
                // PROTO
                0x80 => {
                    let [version] = self.take()?;
                    if version != 2 {
                        return Err(format!("uses pickle protocol {version}, not 2"));
                    }
                }
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.stack.push(Value::None),
                // NEWTRUE, NEWFALSE
                0x88 => self.stack.push(Value::Bool(true)),
                0x89 => self.stack.push(Value::Bool(false)),
                b'K' => {
                    let [n] = self.take()?;
                    self.stack.push(Value::Int(n.into()));
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.take()?);
                    self.stack.push(Value::Int(n.into()));
                }
                b'J' => {
                    let n = i32::from_le_bytes(self.take()?);
                    self.stack.push(Value::Int(n.into()));
                }
                // LONG1
                0x8a => {
                    let [length] = self.take()?;
                    let number = self.long(length.into())?;
                    self.stack.push(Value::Int(number));
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.take()?);
                    let text = self.text(length as usize)?;
                    self.stack.push(Value::Text(text.into()));
                }
                b'c' => {
                    let global = self.global()?;
                    self.stack.push(global);
                }
                b'}' => {
                    self.dicts.push(Vec::new());
                    self.stack.push(Value::Dict(self.dicts.len() - 1));
                }
                b']' => {
                    self.lists.push(Vec::new());
                    self.stack.push(Value::List(self.lists.len() - 1));
                }
                b')' => self.tuple(Vec::new())?,
                b't' => {
                    let items = self.since_mark()?;
                    self.tuple(items)?;
                }
                // TUPLE1, TUPLE2, TUPLE3
                0x85..=0x87 => {
                    let from = self.stack.len().checked_sub(usize::from(op - 0x84));
                    let from = from.filter(|&f| f >= self.floor()).ok_or("is damaged")?;
                    let items = self.stack.split_off(from);
                    self.tuple(items)?;
                }
                b'q' => {
                    let [place] = self.take()?;
                    self.remember(place.into())?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.take()?);
                    self.remember(place)?;
                }
                b'h' => {
                    let [place] = self.take()?;
                    self.recall(place.into())?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.take()?);
                    self.recall(place)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.insert(vec![key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.insert(items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    let data = self.persistent(id)?;
                    self.stack.push(data);
                }
                b'R' => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    let made = self.call(&function, arguments)?;
                    self.stack.push(made);
                }
                // BUILD: attributes of an OrderedDict (the modules' versions), which no tensor needs.
                b'b' => {
                    self.pop()?;
                    if !matches!(self.stack.last(), Some(Value::Dict(_))) {
                        return Err("sets attributes of something that is no dictionary".into());
                    }
                }
                other => {
                    return Err(format!(
                        "holds pickle opcode 0x{other:02x}, which no plain state dict needs; it was not opened further"
                    ));
                }
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or("is cut off; copy it again")?;
        self.rest = rest;
        Ok(*head)
    }

    fn text(&mut self, length: usize) -> Parsed<String> {
        let (text, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or("is cut off; copy it again")?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).map_err(|_| "holds a name that is not UTF-8".into())
    }

    /// A little-endian two's complement number of this many bytes.
    fn long(&mut self, length: usize) -> Parsed<i64> {
        if length > 8 {
            return Err(format!("holds a number of {length} bytes"));
        }
        let mut bytes = [0; 8];
        for byte in &mut bytes[..length] {
            [*byte] = self.take()?;
        }
        let unused = 64 - 8 * length as u32;
        // A shift by all 64 bits is none: no bytes mean 0.
        Ok(i64::from_le_bytes(bytes).checked_shl(unused).unwrap_or(0) >> unused.min(63))
    }

    fn line(&mut self) -> Parsed<&'a [u8]> {
        let end = self.rest.iter().take(100).position(|&b| b == b'\n');
        let end = end.ok_or("holds a name that is cut off or too long")?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }

    fn global(&mut self) -> Parsed<Value> {
        let (module, name) = (self.line()?, self.line()?);
        match (module, name) {
            (b"collections", b"OrderedDict") => Ok(Value::OrderedDict),
            (b"torch._utils", b"_rebuild_tensor_v2") => Ok(Value::RebuildTensor),
            (b"torch", b"FloatStorage") => Ok(Value::Storage(Element::F32)),
            (b"torch", b"LongStorage") => Ok(Value::Storage(Element::I64)),
            _ => Err(format!(
                "asks for {}.{}, which no plain state dict of f32 needs; it was not opened further",
                String::from_utf8_lossy(module),
                String::from_utf8_lossy(name)
            )),
        }
    }

    /// Below this the stack belongs to an earlier mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Parsed<Value> {
        if self.stack.len() <= self.floor() {
            return Err("is damaged: an opcode finds too little on the stack".into());
        }
        self.stack.pop().ok_or_else(|| "is damaged".into())
    }

    fn since_mark(&mut self) -> Parsed<Vec<Value>> {
        let mark = self
            .marks
            .pop()
            .ok_or("is damaged: an opcode finds no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, items: Vec<Value>) -> Parsed<()> {
        if items.len() > WIDTH {
            return Err(format!("holds a tuple of {} values", items.len()));
        }
        let tuple = Value::Tuple(items.into());
        if tuple.depth() > DEPTH {
            return Err("nests tuples deeper than any state dict".into());
        }
        self.stack.push(tuple);
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Parsed<()> {
        let value = self.stack.last().ok_or("is damaged: nothing to remember")?;
        self.memo.insert(place, value.clone());
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Parsed<()> {
        let value = self
            .memo
            .get(&place)
            .ok_or("is damaged: nothing remembered there")?;
        self.stack.push(value.clone());
        Ok(())
    }

    fn insert(&mut self, items: Vec<Value>) -> Parsed<()> {
        let Some(&Value::Dict(dict)) = self.stack.last() else {
            return Err("is damaged: entries for something that is no dictionary".into());
        };
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            let value = items.next().ok_or("is damaged: a key without a value")?;
            self.dicts[dict].push((key, value));
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Parsed<()> {
        let Some(&Value::List(list)) = self.stack.last() else {
            return Err("is damaged: items for something that is no list".into());
        };
        self.lists[list].extend(items);
        Ok(())
    }

    /// ("storage", type, key, device, number of elements, view).
    fn persistent(&mut self, id: Value) -> Parsed<Value> {
        let Value::Tuple(items) = id else {
            return Err("names a storage by something that is no tuple".into());
        };
        let [
            Value::Text(tag),
            Value::Storage(element),
            Value::Text(key),
            Value::Text(_),
            Value::Int(numel),
            Value::None,
        ] = items.as_ref()
        else {
            return Err("names a storage in an unknown way".into());
        };
        let numel =
            usize::try_from(*numel).map_err(|_| format!("gives storage {key} {numel} numbers"))?;
        let known = self
            .storages
            .entry(key.to_string())
            .or_insert((*element, numel));
        if tag.as_ref() != "storage" || *known != (*element, numel) {
            return Err(format!("describes storage {key} in two ways"));
        }
        Ok(Value::Data(Rc::clone(key)))
    }

    fn call(&mut self, function: &Value, arguments: Value) -> Parsed<Value> {
        let Value::Tuple(arguments) = arguments else {
            return Err("is damaged: a call without arguments".into());
        };
        match function {
            Value::OrderedDict if arguments.is_empty() => {
                self.dicts.push(Vec::new());
                Ok(Value::Dict(self.dicts.len() - 1))
            }
            Value::RebuildTensor => {
                let view = self.view(&arguments)?;
                self.tensors.push(view);
                Ok(Value::Tensor(self.tensors.len() - 1))
            }
            _ => Err(
                "calls something that no plain state dict needs; it was not opened further".into(),
            ),
        }
    }

    /// (storage, offset, shape, strides, requires_grad, hooks).
    fn view(&self, arguments: &[Value]) -> Parsed<View> {
        let [
            Value::Data(storage),
            Value::Int(offset),
            Value::Tuple(shape),
            Value::Tuple(strides),
            Value::Bool(_),
            Value::Dict(_),
        ] = arguments
        else {
            return Err("builds a tensor in an unknown way".into());
        };
        let outside = || format!("holds a tensor that leaves its storage {storage}");
        let count = |value: &Value| match value {
            Value::Int(n) => usize::try_from(*n).map_err(|_| outside()),
            _ => Err(outside()),
        };
        let shape = shape.iter().map(count).collect::<Parsed<Vec<_>>>()?;
        let strides = strides.iter().map(count).collect::<Parsed<Vec<_>>>()?;
        let offset = usize::try_from(*offset).map_err(|_| outside())?;
        let (element, length) = self.storage(storage).ok_or_else(outside)?;
        let mut numel = 1usize;
        // Place of the last number. Weights from TensorFlow are transposed views, so any strides may come.
        let mut last = offset;
        for (&side, &stride) in shape.iter().zip(&strides) {
            numel = numel.checked_mul(side).ok_or_else(outside)?;
            let reach = side.saturating_sub(1).checked_mul(stride);
            last = reach
                .and_then(|r| last.checked_add(r))
                .ok_or_else(outside)?;
        }
        // More numbers than the storage has would be repeats (a stride of 0), which no weight is.
        let inside = numel <= length && (numel == 0 || last < length);
        if strides.len() != shape.len() || !inside {
            return Err(outside());
        }
        Ok(View {
            storage: storage.to_string(),
            element,
            offset,
            shape,
            strides,
        })
    }
}
