//! The named choices that flags and experiment files share: one spelling for both. With the feature `clap` they are values of flags. Those
//! that `training.json` has, too, are of `dualmd_record`.

use dualmd_names::choice;

pub use dualmd_record::recipe::{CaptionChoice, Init, Levels, Routing, Weights};

choice! {
    /// Number format of the network's heavy operations.
    Dtype {
        /// bf16 where the device is faster with it, else f32
        #[default]
        Auto = "auto",
        /// 32-bit floats
        F32 = "f32",
        /// 32-bit floats whose products a GPU rounds to TF32
        Tf32 = "tf32",
        /// bfloat16 autocast over f32 weights
        Bf16 = "bf16",
    }
}

choice! {
    /// What a command can be told to fail on: the findings of a report.
    FailOn {
        /// single images are told apart, over all members or over one half
        #[default]
        Leak = "leak",
        /// members are ranked below non-members
        Inverted = "inverted",
        /// members and non-members are told apart as a whole only
        Set = "set",
        /// what the model draws holds copies, and nothing else was found
        Copies = "copies",
        /// the report is void
        Void = "void",
    }
}

choice! {
    /// What images are compared by.
    Features {
        /// efflite0 where its weights are at hand, else none
        #[default]
        Auto = "auto",
        /// EfficientNet-Lite0, 1280 features
        EffLite0 = "efflite0",
        /// the FID network, 2048 features: what the literature calls FID
        Inception2048 = "inception-2048",
        /// the FID network before its auxiliary classifier
        Inception768 = "inception-768",
        /// the FID network after its second pooling
        Inception192 = "inception-192",
        /// the FID network after its first pooling
        Inception64 = "inception-64",
        /// SSCD, made to find copies, 512 features
        Sscd = "sscd",
        /// its small and faster student
        SscdDistilled = "sscd-distilled",
        /// a ViT or DeiT folder of yours (transformers)
        Vit = "vit",
        /// the pixels themselves
        Pixels = "pixels",
        /// no comparison
        None = "none",
    }
}

choice! {
    /// What copies of training images are found by.
    Copies {
        /// sscd-distilled where its files are at hand, and pixels
        #[default]
        Auto = "auto",
        /// SSCD, made to find copies, and pixels
        Sscd = "sscd",
        /// its small and faster student, and pixels
        SscdDistilled = "sscd-distilled",
        /// pixels alone
        Pixels = "pixels",
        /// copies are not counted
        None = "none",
    }
}

choice! {
    /// How members are drawn from an image set.
    SplitMethod {
        /// an exact number of members, in two halves D1 and D2 of equal size
        #[default]
        Half = "half",
        /// a fair coin per image, as one-run audits need
        CoinFlip = "coin-flip",
    }
}

choice! {
    /// What to do with pictures that look almost the same.
    NearDuplicates {
        /// keep them on the same side of the split and in the same half
        #[default]
        Group = "group",
        /// treat them as different pictures
        Ignore = "ignore",
    }
}

choice! {
    /// What becomes of transparency.
    Alpha {
        /// laid over white
        #[default]
        White = "white",
        /// dropped, and the colours under it show, as convert("RGB") of training scripts has it
        Drop = "drop",
    }
}

impl From<Alpha> for dualmd_data::Alpha {
    fn from(alpha: Alpha) -> Self {
        match alpha {
            Alpha::White => Self::White,
            Alpha::Drop => Self::Drop,
        }
    }
}

choice! {
    /// Resizing filter; both are antialiased.
    ResizeFilter {
        /// triangle filter, as torchvision's Resize on PIL images
        #[default]
        Bilinear = "bilinear",
        /// sharper
        Lanczos3 = "lanczos3",
    }
}

choice! {
    /// What turns gradients into steps; both with betas 0.9 and 0.999.
    Optimizer {
        /// weight decay is an L2 term of the gradient
        #[default]
        Adam = "adam",
        /// weight decay shrinks the weights apart from the gradient
        AdamW = "adamw",
    }
}

choice! {
    /// What a network learns.
    Objective {
        /// the noise in x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al. 2020)
        #[default]
        Ddpm = "ddpm",
        /// the velocity eps - x_0 along x_s = (1 - s) x_0 + s eps: rectified flow, flow matching (Liu et al. 2022)
        Flow = "flow",
    }
}

choice! {
    /// What the folder of a model holds of which low-rank additions alone were trained (LoRA).
    LoraSave {
        /// the sum of base and additions, which every program opens as a model, and the additions beside it
        #[default]
        Merged = "merged",
        /// the additions alone, in the forms of diffusers, PEFT and kohya: megabytes, beside the base that they name
        Adapter = "adapter",
    }
}

choice! {
    /// What the attack `reference` compares with.
    Reference {
        /// one more model, trained on images that are neither members nor non-members
        #[default]
        Trained = "trained",
        /// what all models start from, at no cost: it saw neither side
        Base = "base",
    }
}

choice! {
    /// Sampler.
    Sampler {
        /// deterministic, a few dozen steps (Song et al. 2021); of a flow Euler steps along its path
        #[default]
        Ddim = "ddim",
        /// ancestral, one step per training timestep unless told otherwise (Ho et al. 2020)
        Ddpm = "ddpm",
    }
}

impl Sampler {
    /// Denoising steps of an image unless a number is named.
    pub fn usual_steps(self) -> usize {
        match self {
            Self::Ddim => 50,
            Self::Ddpm => 1000,
        }
    }
}

choice! {
    /// How training images are asked for in extraction.
    ExtractMethod {
        /// whole images are generated, of a text-to-image model for the captions of both sides
        #[default]
        Generate = "generate",
        /// the lower half of each image is hidden, and the model restores it (RePaint)
        Inpaint = "inpaint",
        /// an embedding is searched for that makes a text-to-image model generate each image, from its caption on (DoRI)
        Search = "search",
        /// half of the images are generated, and a classifier of like ones among them leads the model to the other half (SIDE)
        Side = "side",
    }
}

choice! {
    /// Which of two models takes which step in DualMD sampling.
    Order {
        /// the first model takes the first step, then they alternate
        #[default]
        First = "first",
        /// the second model takes the first step, then they alternate
        Second = "second",
        /// a coin per image says which model starts, then they alternate
        RandomStart = "random-start",
        /// a coin per step says which model takes it
        RandomStep = "random-step",
    }
}

choice! {
    /// How generated images are written.
    ImageFormat {
        /// one PNG per image and a grid
        #[default]
        Png = "png",
        /// one `samples.npy`, f32 [N, C, H, W] in [-1, 1]
        Npy = "npy",
    }
}

choice! {
    /// What is done about a prompt that a model remembers an image for.
    Mitigate {
        /// its embedding is changed until the model no longer jumps at it (Wen et al. 2024)
        #[default]
        Wen = "wen",
    }
}

choice! {
    /// Form of log and progress lines.
    LogFormat {
        /// for people
        #[default]
        Text = "text",
        /// one JSON object per line, for programs
        Json = "json",
    }
}

choice! {
    /// Stages of a run, in order; each one can be the last.
    Stage {
        /// read, deduplicate and split the images
        Split = "split",
        /// train every model
        Train = "train",
        /// generate images from every model
        Sample = "sample",
        /// score members and non-members
        Attack = "attack",
        /// statistics, report.json, report.html
        #[default]
        Report = "report",
    }
}
