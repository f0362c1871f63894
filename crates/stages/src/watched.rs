//! Features of many images, and how far they are.

use crate::reporter::{ProgressEvent, Reporter};
use dualmd_metrics::{Extracted, Extractor, Logits, Places};
use dualmd_torch::Tensor;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

/// Images of a part: a multiple of what extractors take at a time, so that the parts change no number.
const PART: i64 = 256;

/// An extractor that tells how many images it is through with.
pub struct Watched {
    inner: Box<dyn Extractor>,
    reporter: Arc<dyn Reporter>,
    /// The model whose images they are compared with, and what the work is called.
    task: (String, &'static str),
    began: Instant,
    done: Cell<usize>,
    total: usize,
}

impl Watched {
    /// `total`: the images that it will be given, in all its calls.
    pub fn new(
        inner: Box<dyn Extractor>,
        reporter: Arc<dyn Reporter>,
        (model, what): (&str, &'static str),
        total: usize,
    ) -> Self {
        Self {
            inner,
            reporter,
            task: (model.to_owned(), what),
            began: Instant::now(),
            done: Cell::new(0),
            total,
        }
    }

    fn tell(&self, images: i64) {
        let done = self.done.get() + images.unsigned_abs() as usize;
        self.done.set(done);
        let (model, what) = &self.task;
        let event = ProgressEvent::images(model, done, self.total, self.began);
        self.reporter.progress(&event.doing(what));
    }
}

/// Where the parts of `n` images begin, each with its length: no part is a single image, which no extractor takes.
fn parts(n: i64) -> Vec<(i64, i64)> {
    let mut parts = Vec::new();
    let mut from = 0;
    while from < n {
        let rest = n - from;
        let length = if rest <= PART + 1 { rest } else { PART };
        parts.push((from, length));
        from += length;
    }
    parts
}

impl Extractor for Watched {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn extract(&self, images: &Tensor) -> dualmd_metrics::Result<Extracted> {
        let n = images.size().first().copied().unwrap_or(0);
        let mut all: Option<Extracted> = None;
        for (from, length) in parts(n) {
            let part = self.inner.extract(&images.f_narrow(0, from, length)?)?;
            self.tell(length);
            all = Some(match all {
                None => part,
                Some(before) => joined(&before, &part)?,
            });
        }
        match all {
            Some(all) => Ok(all),
            // It says what is wrong with no images.
            None => self.inner.extract(images),
        }
    }

    fn places(&self) -> Option<&dyn Places> {
        self.inner.places()
    }

    fn is_worth_keeping(&self) -> bool {
        self.inner.is_worth_keeping()
    }
}

fn joined(before: &Extracted, part: &Extracted) -> dualmd_metrics::Result<Extracted> {
    let logits = match (&before.logits, &part.logits) {
        (Some(a), Some(b)) => Some(Logits {
            biased: a.biased.concat(&b.biased)?,
            unbiased: a.unbiased.concat(&b.unbiased)?,
        }),
        _ => None,
    };
    Ok(Extracted {
        features: before.features.concat(&part.features)?,
        logits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_metrics::Pixels;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, u64)>>);

    impl Reporter for Heard {
        fn progress(&self, event: &ProgressEvent) {
            self.0.lock().unwrap().push((event.step, event.total));
        }
        fn say(&self, _: &str) {}
        fn warn(&self, _: &str) {}
        fn detail(&self, _: &str) {}
        fn finished(&self, _: &str, _: &str) {}
    }

    #[test]
    fn parts_change_nothing_and_none_is_a_single_image() {
        assert_eq!(parts(0), []);
        assert_eq!(parts(2), [(0, 2)]);
        assert_eq!(parts(257), [(0, 257)]);
        assert_eq!(parts(513), [(0, 256), (256, 257)]);
        let pixels = || {
            Box::new(Pixels {
                height: 4,
                width: 4,
            })
        };
        let images = (Tensor::arange(
            600 * 16,
            (dualmd_torch::Kind::Float, dualmd_torch::Device::Cpu),
        ) / 9600.0)
            .reshape([600, 1, 4, 4]);
        let heard = Arc::new(Heard::default());
        let watched = Watched::new(pixels(), heard.clone(), ("model", "quality"), 600);
        assert_eq!(
            watched.extract(&images).unwrap(),
            pixels().extract(&images).unwrap()
        );
        assert_eq!(
            *heard.0.lock().unwrap(),
            [(256, 600), (512, 600), (600, 600)]
        );
    }
}
