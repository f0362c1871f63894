//! Image sets, ids, near-duplicate groups and membership splits. No tensors.
//!
//! From a file to a split: [`load()`] reads any of the supported forms into an [`ImageSet`]; [`dedupe`] drops exact
//! duplicates; [`near_duplicates`] finds pictures too alike to be put on different sides; [`Split`] says who is a
//! member, of which half, and who is not, in terms of content ids that survive renaming and reordering.
//!
//! | module | idea |
//! |---|---|
//! | [`picture`] | pixels in memory: colour, resizing, ids |
//! | [`decode`] | bytes of a PNG, JPEG, WebP, BMP or GIF to a [`Picture`], with caps read from the header; `entropy`: whether a JPEG is all there |
//! | [`mod@file`] | what an encoded picture was like as a file |
//! | [`set`] | records and image sets, conversion to floats |
//! | [`mod@load`] | which reader for which source; the readers are in `read/` |
//! | [`listing`] | sets larger than memory: the pixels in a file, for duplicates, groups and splits |
//! | [`pixels`] | the pixels in such a file, read picture by picture |
//! | [`duplicates`] | exact and near duplicates; `alike`: when two pictures look almost the same |
//! | [`ids`] | content ids of many images, and which image has which |
//! | [`split`], [`import`] | membership splits, drawn here or by others |
//! | [`drawn`] | folders of generated images: which files are images, what an earlier call left |
//! | [`png`], [`export`] | writing pictures and grids, a set as a folder for other programs |
//! | [`mod@stream`] | named random streams |

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod alike;
pub mod decode;
pub mod drawn;
pub mod duplicates;
mod entropy;
mod error;
pub mod export;
pub mod file;
pub mod ids;
pub mod import;
pub mod listing;
pub mod load;
pub mod npy;
pub mod picture;
pub mod pixels;
pub mod png;
mod read;
pub mod set;
pub mod split;
pub mod stream;

pub use decode::Alpha;
pub use duplicates::{
    DedupeReport, Groups, NearDuplicateOptions, UnionFind, alike_across, dedupe, near_duplicates,
};
pub use error::{Error, Result};
pub use export::save_folder;
pub use file::{FileFacts, JpegFacts};
pub use ids::Ids;
pub use import::{ImportReport, import_secmi_npz};
pub use listing::Listing;
pub use load::{BUNDLED, LoadOptions, VENDORS, load};
pub use picture::{Filter, Picture, SampleId};
pub use pixels::Pixels;
pub use png::{encode_png, grid, save_png};
pub use read::npy_header;
pub use set::{ImageSet, Record};
pub use split::{Half, Member, Method, NonMember, Placed, Selected, Side, Split};
pub use stream::{stream, stream_for_id};
