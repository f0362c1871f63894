//! Where the families put their features.

/// A list of features. Names are made only when asked for: they are the same for every picture of a shape.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub values: Vec<f64>,
    pub names: Option<Vec<String>>,
}

impl Sink {
    pub fn named() -> Self {
        Self {
            values: Vec::new(),
            names: Some(Vec::new()),
        }
    }

    /// Adds one feature. A value that is no number (0 / 0 in a picture of one pixel) becomes 0.
    pub fn push(&mut self, value: f64, name: impl FnOnce() -> String) {
        self.values
            .push(if value.is_finite() { value } else { 0.0 });
        if let Some(names) = &mut self.names {
            names.push(name());
        }
    }
}

/// log(x + floor): energies span decades, and a flat picture has none.
pub(crate) fn log(x: f64, floor: f64) -> f64 {
    (x + floor).ln()
}

/// The mean; 0 of nothing.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0usize);
    for v in values {
        sum += v;
        n += 1;
    }
    if n == 0 { 0.0 } else { sum / n as f64 }
}
