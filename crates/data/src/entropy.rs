//! Whether the data of a JPEG's pixels are all there. Decoders fill what is missing with grey, in silence or nearly so: half
//! a picture would be one more sample.
//!
//! The scans are read as far as Huffman codes go (ITU-T T.81: F.2.2 sequential, G.1.2 progressive; no pixel is computed), and
//! the only question is whether a scan wants bits where the file, or the picture, has ended. What this reader does not
//! understand it leaves to the decoder.

/// Whether the pixels of the JPEG in `bytes` are not all there. A missing end marker alone is no loss.
pub(crate) fn is_cut_short(bytes: &[u8]) -> bool {
    matches!(Reader::new(bytes).run(), Err(Stop::Dry))
}

/// Why reading stopped before the end.
enum Stop {
    /// A scan wants more than there is, or scans are missing.
    Dry,
    /// Something else than this reader knows, or damage.
    Strange,
}

type Step<T> = Result<T, Stop>;

/// A Huffman table in canonical form.
struct Table {
    /// By code length less 1: the first code past those of this length, and what is to be added to a code for its place.
    ends: [(i32, i32); 16],
    symbols: Vec<u8>,
    /// By the next eight bits: length of the code and symbol; length 0 where the code is longer.
    short: [(u8, u8); 256],
}

impl Table {
    fn new(counts: &[u8], symbols: &[u8]) -> Self {
        let mut ends = [(0, 0); 16];
        let mut short = [(0, 0); 256];
        let (mut code, mut place) = (0i32, 0i32);
        for (length, (end, &count)) in ends.iter_mut().zip(counts).enumerate() {
            let length = length + 1;
            let shift = place - code;
            for _ in 0..count {
                if length <= 8
                    && let Some(&symbol) = symbols.get(place as usize)
                {
                    let first = (code as usize) << (8 - length);
                    for entry in short.iter_mut().skip(first).take(1 << (8 - length)) {
                        *entry = (length as u8, symbol);
                    }
                }
                code += 1;
                place += 1;
            }
            *end = (code, shift);
            code <<= 1;
        }
        Self {
            ends,
            symbols: symbols.to_vec(),
            short,
        }
    }
}

/// Bits of one scan: stuffed zeros are dropped, and a marker is an end.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.count <= 48 {
            let Some(&byte) = self.bytes.get(self.at) else {
                return;
            };
            if byte == 0xff {
                match self.bytes.get(self.at + 1) {
                    Some(0) => self.at += 1,
                    Some(0xff) => {
                        self.at += 1;
                        continue;
                    }
                    _ => return,
                }
            }
            self.at += 1;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// What stopped the bits: the end of file or picture, or something else.
    fn stop(&self) -> Stop {
        match self.bytes.get(self.at + 1) {
            None | Some(0xd9) => Stop::Dry,
            Some(_) => Stop::Strange,
        }
    }

    /// The next `n` bits, at most 16.
    fn take(&mut self, n: u32) -> Step<u32> {
        if self.count < n {
            self.fill();
            if self.count < n {
                return Err(self.stop());
            }
        }
        self.count -= n;
        Ok((self.buffer >> self.count) as u32 & ((1 << n) - 1))
    }

    fn symbol(&mut self, table: &Table) -> Step<u8> {
        if self.count < 16 {
            self.fill();
        }
        if self.count >= 8 {
            let (length, symbol) = table.short[(self.buffer >> (self.count - 8)) as usize & 0xff];
            if length > 0 {
                self.count -= u32::from(length);
                return Ok(symbol);
            }
        }
        let mut code = 0;
        for (end, shift) in table.ends {
            code = code << 1 | self.take(1)? as i32;
            if code < end {
                let place = usize::try_from(code + shift).map_err(|_| Stop::Strange)?;
                return table.symbols.get(place).copied().ok_or(Stop::Strange);
            }
        }
        Err(Stop::Strange)
    }

    /// Goes past the next restart marker.
    fn restart(&mut self) -> Step<()> {
        (self.buffer, self.count) = (0, 0);
        loop {
            match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0xd0..=0xd7)) => {
                    self.at += 2;
                    return Ok(());
                }
                (Some(0xff), Some(0 | 0xff)) => self.at += 1,
                (Some(0xff), _) | (None, _) => return Err(self.stop()),
                _ => self.at += 1,
            }
        }
    }
}

/// One colour component of the frame.
struct Component {
    id: u8,
    across: u32,
    down: u32,
    /// Blocks in a row and rows of blocks, in scans of this component alone.
    blocks: (u32, u32),
    /// Blocks in a row where components are interleaved: whole units.
    stride: u32,
    /// Of every block, which coefficients are known not to be zero: refining scans have a bit for each of those.
    nonzero: Vec<u64>,
    /// By coefficient, the lowest bit that a scan has brought; 255: none.
    known: [u8; 64],
}

struct Frame {
    progressive: bool,
    /// Units of interleaved scans in a row, and rows of them.
    units: (u32, u32),
    components: Vec<Component>,
}

/// One component's part in a scan, by number, with its tables.
struct Part<'t> {
    component: usize,
    dc: Option<&'t Table>,
    ac: Option<&'t Table>,
}

/// Which coefficients a scan brings, and which of their bits.
#[derive(Clone, Copy)]
struct Band {
    first: u32,
    last: u32,
    /// The bit that an earlier scan ended with; 0: this is the first.
    high: u8,
    low: u8,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    interval: u32,
    frame: Option<Frame>,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            dc: [None, None, None, None],
            ac: [None, None, None, None],
            interval: 0,
            frame: None,
        }
    }

    fn run(&mut self) -> Step<()> {
        if !self.bytes.starts_with(&[0xff, 0xd8]) {
            return Err(Stop::Strange);
        }
        self.at = 2;
        loop {
            let Some(marker) = self.marker() else {
                return self.complete(false);
            };
            if marker == 0xd9 {
                return self.complete(true);
            }
            if matches!(marker, 0x01 | 0xd0..=0xd8) {
                continue;
            }
            let Some(segment) = self.segment() else {
                return self.complete(false);
            };
            match marker {
                0xc4 => self.tables(segment)?,
                0xc0..=0xc2 => self.frame(segment, marker == 0xc2)?,
                // Lossless, hierarchical, arithmetic: not for this reader. 0xc8 is for extensions.
                0xc3 | 0xc5..=0xcf => return Err(Stop::Strange),
                0xdd => match segment {
                    [a, b] => self.interval = u32::from(u16::from_be_bytes([*a, *b])),
                    _ => return Err(Stop::Strange),
                },
                0xda => self.scan(segment)?,
                _ => {}
            }
        }
    }

    /// The next marker; None at the end of the file. What lies before it is no picture data.
    fn marker(&mut self) -> Option<u8> {
        loop {
            let start = self.bytes.get(self.at..)?.iter().position(|&b| b == 0xff)?;
            self.at += start + 1;
            let &marker = self.bytes.get(self.at)?;
            if !matches!(marker, 0 | 0xff) {
                self.at += 1;
                return Some(marker);
            }
        }
    }

    /// The body of the segment that begins here; None where the file ends inside it.
    fn segment(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])).max(2);
        let segment = rest.get(2..length)?;
        self.at += length;
        Some(segment)
    }

    fn tables(&mut self, mut segment: &[u8]) -> Step<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_at_checked(16).ok_or(Stop::Strange)?;
            let total = counts.iter().map(|&c| usize::from(c)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(Stop::Strange)?;
            let kind = if head >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            let place = kind.get_mut(usize::from(head & 15));
            *place.ok_or(Stop::Strange)? = Some(Table::new(counts, symbols));
            segment = rest;
        }
        Ok(())
    }

    fn frame(&mut self, segment: &[u8], progressive: bool) -> Step<()> {
        let [_, h1, h0, w1, w0, count, rest @ ..] = segment else {
            return Err(Stop::Strange);
        };
        let height = u32::from(u16::from_be_bytes([*h1, *h0]));
        let width = u32::from(u16::from_be_bytes([*w1, *w0]));
        let factors: Vec<(u8, u32, u32)> = rest
            .chunks_exact(3)
            .take(usize::from(*count))
            .map(|c| (c[0], u32::from(c[1] >> 4), u32::from(c[1] & 15)))
            .collect();
        let sound = factors
            .iter()
            .all(|(_, h, v)| (1..=4).contains(h) && (1..=4).contains(v));
        // A height of 0 comes later, in a segment that hardly anything writes.
        if !sound || factors.is_empty() || width == 0 || height == 0 || self.frame.is_some() {
            return Err(Stop::Strange);
        }
        let alone = factors.len() == 1;
        let most = |side: fn(&(u8, u32, u32)) -> u32| factors.iter().map(side).max().unwrap_or(1);
        let (across, down) = if alone {
            (1, 1)
        } else {
            (most(|f| f.1), most(|f| f.2))
        };
        let units = (width.div_ceil(8 * across), height.div_ceil(8 * down));
        let component = |&(id, h, v): &(u8, u32, u32)| {
            let (h, v) = if alone { (1, 1) } else { (h, v) };
            let stride = units.0 * h;
            let blocks = if progressive {
                stride as usize * (units.1 * v) as usize
            } else {
                0
            };
            Component {
                id,
                across: h,
                down: v,
                blocks: (
                    (width * h).div_ceil(across).div_ceil(8),
                    (height * v).div_ceil(down).div_ceil(8),
                ),
                stride,
                nonzero: vec![0; blocks],
                known: [255; 64],
            }
        };
        self.frame = Some(Frame {
            progressive,
            units,
            components: factors.iter().map(component).collect(),
        });
        Ok(())
    }

    fn scan(&mut self, segment: &[u8]) -> Step<()> {
        let frame = self.frame.as_mut().ok_or(Stop::Strange)?;
        let (&count, rest) = segment.split_first().ok_or(Stop::Strange)?;
        let (chosen, rest) = rest
            .split_at_checked(2 * usize::from(count))
            .ok_or(Stop::Strange)?;
        let [first, last, bits, ..] = *rest else {
            return Err(Stop::Strange);
        };
        let band = if frame.progressive {
            Band {
                first: u32::from(first),
                last: u32::from(last),
                high: bits >> 4,
                low: bits & 15,
            }
        } else {
            Band {
                first: 0,
                last: 63,
                high: 0,
                low: 0,
            }
        };
        if band.first > band.last || band.last > 63 || count == 0 {
            return Err(Stop::Strange);
        }
        let mut parts = Vec::new();
        for pair in chosen.chunks_exact(2) {
            let component = frame.components.iter().position(|c| c.id == pair[0]);
            parts.push(Part {
                component: component.ok_or(Stop::Strange)?,
                dc: self
                    .dc
                    .get(usize::from(pair[1] >> 4))
                    .and_then(Option::as_ref),
                ac: self
                    .ac
                    .get(usize::from(pair[1] & 15))
                    .and_then(Option::as_ref),
            });
        }
        let mut bits = Bits {
            bytes: self.bytes,
            at: self.at,
            buffer: 0,
            count: 0,
        };
        frame.read(&parts, band, self.interval, &mut bits)?;
        self.at = bits.at;
        for part in &parts {
            let known = &mut frame.components[part.component].known;
            known[band.first as usize..=band.last as usize].fill(band.low);
        }
        Ok(())
    }

    /// After the last scan. Without an end marker, every bit of every coefficient must have come; with one, a picture that
    /// was left coarse was meant so, as long as every component has something.
    fn complete(&self, ended: bool) -> Step<()> {
        let Some(frame) = &self.frame else {
            return Err(Stop::Strange);
        };
        let whole = |c: &Component| {
            if ended {
                c.known[0] != 255
            } else {
                c.known == [0; 64]
            }
        };
        if frame.components.iter().all(whole) {
            Ok(())
        } else {
            Err(Stop::Dry)
        }
    }
}

impl Frame {
    /// Reads the data of one scan.
    fn read(
        &mut self,
        parts: &[Part<'_>],
        band: Band,
        interval: u32,
        bits: &mut Bits<'_>,
    ) -> Step<()> {
        let (columns, rows) = match parts {
            [only] => self.components[only.component].blocks,
            _ => self.units,
        };
        let mut run = 0;
        let mut done = 0;
        for y in 0..rows {
            for x in 0..columns {
                if interval > 0 && done == interval {
                    bits.restart()?;
                    (run, done) = (0, 0);
                }
                done += 1;
                for part in parts {
                    let component = &mut self.components[part.component];
                    let (h, v) = if parts.len() == 1 {
                        (1, 1)
                    } else {
                        (component.across, component.down)
                    };
                    for k in 0..h * v {
                        let (column, row) = (x * h + k % h, y * v + k / h);
                        if !self.progressive {
                            sequential(part, bits)?;
                            continue;
                        }
                        let place = row as usize * component.stride as usize + column as usize;
                        let nonzero = component.nonzero.get_mut(place).ok_or(Stop::Strange)?;
                        progressive(part, band, nonzero, &mut run, bits)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn sequential(part: &Part<'_>, bits: &mut Bits<'_>) -> Step<()> {
    let (dc, ac) = (part.dc.ok_or(Stop::Strange)?, part.ac.ok_or(Stop::Strange)?);
    let size = bits.symbol(dc)?;
    bits.take(u32::from(size.min(16)))?;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(ac)?;
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 && zeros < 15 {
            break;
        }
        bits.take(size)?;
        k += zeros + 1;
    }
    Ok(())
}

/// One block of a progressive scan; `run`: how many blocks, from this one on, have no more coefficients in this band.
fn progressive(
    part: &Part<'_>,
    band: Band,
    nonzero: &mut u64,
    run: &mut u32,
    bits: &mut Bits<'_>,
) -> Step<()> {
    if band.first == 0 {
        if band.high > 0 {
            bits.take(1)?;
        } else {
            let size = bits.symbol(part.dc.ok_or(Stop::Strange)?)?;
            bits.take(u32::from(size.min(16)))?;
        }
        return Ok(());
    }
    let table = part.ac.ok_or(Stop::Strange)?;
    let mut k = band.first;
    if *run == 0 {
        while k <= band.last {
            let symbol = bits.symbol(table)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + bits.take(zeros)?;
                break;
            }
            bits.take(size)?;
            // Past so many zeros; a refining scan has a bit for each coefficient on the way that is known not to be zero.
            while k <= band.last {
                if band.high > 0 && *nonzero >> k & 1 == 1 {
                    bits.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if size > 0 && k <= band.last {
                *nonzero |= 1 << k;
            }
            k += 1;
        }
    }
    if *run > 0 {
        *run -= 1;
        if band.high > 0 {
            for k in k..=band.last {
                if *nonzero >> k & 1 == 1 {
                    bits.take(1)?;
                }
            }
        }
    }
    Ok(())
}
