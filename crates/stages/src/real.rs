//! Features of real images, kept: a network looks at the same real images once, however many models they are compared with.
//!
//! A file of the store holds the table of one set of images by one network, and nothing says whether the set were members. Pixels are
//! not kept: they are no work, and would be the images themselves.

use super::features::{extract, hash_answer};
use super::hashes::hash_tensor;
use super::utility::cache_folder;
use crate::reporter::Reporter;
use anyhow::Result;
use dualmd_metrics::{Extractor, Features};
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Kind, Tensor};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Version of what the files hold; a change of how images are prepared for a network raises it.
const VERSION: u32 = 1;

/// Images that a network is asked about, to tell it from others of its name.
const PROBE: i64 = 2;

/// Images that are hashed at once: as floats they take four times the room of bytes.
const PART: i64 = 256;

/// Where features of real images are kept.
pub struct FeatureStore<'a> {
    folder: Option<PathBuf>,
    reporter: &'a dyn Reporter,
}

impl<'a> FeatureStore<'a> {
    /// In a folder, which is made, its owner's alone, when there is something to keep.
    pub fn new(folder: PathBuf, reporter: &'a dyn Reporter) -> Self {
        Self {
            folder: Some(folder),
            reporter,
        }
    }

    /// In `features/` of the cache folder of this project; nowhere for a user without one.
    pub fn in_cache(reporter: &'a dyn Reporter) -> Self {
        Self {
            folder: cache_folder().map(|cache| cache.join("features")),
            reporter,
        }
    }

    /// Nowhere: all is made anew.
    pub fn nowhere(reporter: &'a dyn Reporter) -> Self {
        Self {
            folder: None,
            reporter,
        }
    }

    /// Real images, [N, C, H, W] in [-1, 1] or as uint8, whose features are looked for here.
    pub fn images(&self, images: Tensor) -> RealImages<'_> {
        RealImages {
            images,
            hash: OnceCell::new(),
            store: self,
        }
    }

    fn keep(&self, path: &Path, features: &Features) -> Result<()> {
        dualmd_files::create_private_folder(dualmd_files::parent(path))?;
        let flat: Vec<f32> = features.rows().flatten().copied().collect();
        let table = Tensor::from_slice(&flat).f_view([-1, features.dim() as i64])?;
        Ok(write_npy(path, &table)?)
    }
}

/// One set of real images.
pub struct RealImages<'a> {
    images: Tensor,
    /// Of the images, once it was asked for.
    hash: OnceCell<String>,
    store: &'a FeatureStore<'a>,
}

impl RealImages<'_> {
    /// N.
    pub fn count(&self) -> i64 {
        self.images.size().first().copied().unwrap_or(0)
    }

    /// How many images [`features`](Self::features) will give the network: few where the features are kept.
    ///
    /// # Errors
    /// As there.
    pub fn to_be_seen(&self, extractor: &dyn Extractor) -> Result<i64> {
        Ok(match self.path(extractor)? {
            None => self.count(),
            Some(path) if self.read(&path, extractor).is_some() => PROBE,
            Some(_) => PROBE + self.count(),
        })
    }

    /// Their features: those that are kept, or new ones, which are then kept. Features that cannot be written are a warning.
    ///
    /// # Errors
    /// What the extractor refuses.
    pub fn features(&self, extractor: &dyn Extractor) -> Result<Features> {
        let path = self.path(extractor)?;
        let kept = path.as_deref().and_then(|path| self.read(path, extractor));
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let features = extract(extractor, &self.images)?.features;
        if let Some(path) = path
            && let Err(error) = self.store.keep(&path, &features)
        {
            let text = format!("warning: features of real images are not kept: {error:#}");
            self.store.reporter.warn(&text);
        }
        Ok(features)
    }

    /// The file of these images and this network; none where nothing is kept.
    fn path(&self, extractor: &dyn Extractor) -> Result<Option<PathBuf>> {
        let Some(folder) = self.store.folder.as_ref() else {
            return Ok(None);
        };
        if !extractor.is_worth_keeping() || self.count() < PROBE {
            return Ok(None);
        }
        let of = (
            VERSION,
            extractor.name(),
            // Weights, device and arithmetic show in it.
            hash_answer(extractor, &self.images.f_narrow(0, 0, PROBE)?)?,
            self.hash()?,
        );
        let key = blake3::hash(serde_json::to_string(&of)?.as_bytes()).to_hex();
        Ok(Some(folder.join(format!("{key}.npy"))))
    }

    fn hash(&self) -> Result<&str> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash);
        }
        // Bytes and floats of the same numbers are not the same images.
        let what = format!("{:?} {:?}", self.images.kind(), self.images.size());
        let mut hasher = blake3::Hasher::new();
        hasher.update(what.as_bytes());
        for from in (0..self.count()).step_by(PART as usize) {
            let length = (self.count() - from).min(PART);
            let part = self.images.f_narrow(0, from, length)?;
            hasher.update(hash_tensor(&part)?.as_bytes());
        }
        let hash = hasher.finalize().to_hex().to_string();
        Ok(self.hash.get_or_init(|| hash))
    }

    /// What is kept, if it is a table of these images' size.
    fn read(&self, path: &Path, extractor: &dyn Extractor) -> Option<Features> {
        let table = read_npy(path).ok()?;
        let dim = extractor.dim();
        let whole = table.kind() == Kind::Float && table.size() == [self.count(), dim as i64];
        let flat = whole.then(|| table.f_flatten(0, -1).ok()).flatten()?;
        let values = Vec::<f32>::try_from(&flat).ok()?;
        Features::new(extractor.name(), dim, values).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::Silent;
    use dualmd_metrics::{Extracted, Pixels};
    use dualmd_torch::Device;
    use std::cell::Cell;

    /// Pixels times a weight, as a network that counts the images it sees.
    struct Network {
        weight: f32,
        seen: Cell<i64>,
    }

    impl Network {
        fn new(weight: f32) -> Self {
            Self {
                weight,
                seen: Cell::new(0),
            }
        }

        /// Images that it saw since this was last asked.
        fn seen(&self) -> i64 {
            self.seen.replace(0)
        }
    }

    const PIXELS: Pixels = Pixels {
        height: 2,
        width: 2,
    };

    impl Extractor for Network {
        fn name(&self) -> String {
            "network-12".to_owned()
        }

        fn dim(&self) -> usize {
            12
        }

        fn extract(&self, images: &Tensor) -> dualmd_metrics::Result<Extracted> {
            self.seen.set(self.seen.get() + images.size()[0]);
            let found = PIXELS.extract(images)?.features;
            let values = found.rows().flatten().map(|v| v * self.weight).collect();
            Ok(Extracted {
                features: Features::new(self.name(), 12, values)?,
                logits: None,
            })
        }
    }

    fn images(n: i64, first: f64) -> Tensor {
        let ramp = Tensor::arange(n * 12, (Kind::Float, Device::Cpu)) / (n * 12) as f64;
        (ramp + first).reshape([n, 3, 2, 2]) - 0.9
    }

    #[test]
    fn a_network_sees_real_images_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("real");
        let network = Network::new(1.0);
        let asked = |network: &Network, images: &Tensor| {
            let store = FeatureStore::new(folder.clone(), &Silent);
            let real = store.images(images.shallow_clone());
            let told = real.to_be_seen(network).unwrap();
            network.seen();
            let features = real.features(network).unwrap();
            let seen = network.seen();
            assert_eq!(seen, told, "what was announced");
            (seen, features)
        };
        let x = images(5, 0.0);
        let plain = extract(&network, &x).unwrap().features;
        assert_eq!(asked(&network, &x), (7, plain.clone()));
        // The same images again, as another command or for another model: the two that tell the network.
        assert_eq!(asked(&network, &x), (2, plain.clone()));
        // Other images, another order of them, other weights under the same name: all are seen.
        assert_eq!(asked(&network, &images(5, 0.1)).0, 7);
        let turned = x.flip([0]);
        let (seen, features) = asked(&network, &turned);
        assert_eq!(seen, 7);
        assert_eq!(features, extract(&network, &turned).unwrap().features);
        let other = Network::new(0.5);
        let (seen, features) = asked(&other, &x);
        assert_eq!(seen, 7);
        assert_ne!(features, plain);
        // A file that is no such table is made anew.
        network.seen();
        for file in dualmd_files::list(&folder).unwrap() {
            std::fs::write(file, "nothing").unwrap();
        }
        assert_eq!(asked(&network, &x), (7, plain.clone()));
        assert_eq!(asked(&network, &x), (2, plain));
    }

    #[test]
    fn pixels_are_not_kept_and_nothing_where_nobody_asked() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("real");
        let x = images(4, 0.0);
        let store = FeatureStore::new(folder.clone(), &Silent);
        let real = store.images(x.shallow_clone());
        assert_eq!(real.to_be_seen(&PIXELS).unwrap(), 4);
        let found = real.features(&PIXELS).unwrap();
        assert_eq!(found, extract(&PIXELS, &x).unwrap().features);
        assert!(!folder.exists());
        let network = Network::new(1.0);
        let store = FeatureStore::nowhere(&Silent);
        for _ in 0..2 {
            store.images(x.shallow_clone()).features(&network).unwrap();
            assert_eq!(network.seen(), 4);
        }
    }

    #[test]
    fn features_that_cannot_be_kept_are_a_warning() {
        #[derive(Default)]
        struct Heard(std::sync::Mutex<Vec<String>>);
        impl Reporter for Heard {
            fn progress(&self, _: &crate::reporter::ProgressEvent) {}
            fn finished(&self, _: &str, _: &str) {}
            fn say(&self, _: &str) {}
            fn warn(&self, text: &str) {
                self.0.lock().unwrap().push(text.to_owned());
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let heard = Heard::default();
        let store = FeatureStore::new(file.join("real"), &heard);
        let network = Network::new(1.0);
        store.images(images(3, 0.0)).features(&network).unwrap();
        let said = heard.0.into_inner().unwrap();
        assert!(said.len() == 1 && said[0].contains("not kept"), "{said:?}");
    }
}
