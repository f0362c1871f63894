//! Where a model in another process is, as it is typed.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer of such a model may take where nothing else is said. The first one includes the loading of the model.
pub const DENOISER_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a denoiser is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A command line for the shell.
    Command(String),
    /// A network in the ONNX format, which the Python package serves.
    Onnx(PathBuf),
    /// A socket on which a server listens.
    Socket(PathBuf),
    /// A socket of the program that called this one, such as the Python package, and that goes with it: nobody else can ask there.
    Caller(PathBuf),
}

impl Place {
    /// `unix:PATH`, a file of ONNX by its ending, or else a command line.
    ///
    /// # Errors
    /// Why it can be neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: wants the path of a socket, as in unix:/tmp/denoiser".into()),
            Some(path) => Ok(Self::Socket(path.into())),
            None if text.trim().is_empty() => Err(
                "give a command such as \"python serve.py\", an .onnx file, or unix:PATH".into(),
            ),
            None if is_onnx(text) => Ok(Self::Onnx(text.into())),
            None => Ok(Self::Command(text.to_owned())),
        }
    }

    /// The same where the socket, if it is one, is the caller's.
    #[must_use]
    pub fn of_caller(self) -> Self {
        match self {
            Self::Socket(path) => Self::Caller(path),
            other => other,
        }
    }

    /// As it was named; of a caller's socket that it is one, since its path says nothing afterwards and is another one in each call.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Command(command) => command.clone(),
            Self::Onnx(file) => file.display().to_string(),
            Self::Socket(path) => format!("unix:{}", path.display()),
            Self::Caller(_) => "a model in Python".to_owned(),
        }
    }
}

/// Is it a file of ONNX, and no command whose last word is one?
fn is_onnx(text: &str) -> bool {
    text.ends_with(".onnx") && (!text.contains(char::is_whitespace) || Path::new(text).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_onnx_are_no_commands() {
        let file = Place::parse("models/unet.onnx").unwrap();
        assert_eq!(file, Place::Onnx("models/unet.onnx".into()));
        assert_eq!(file.shown(), "models/unet.onnx");
        assert_eq!(file.clone().of_caller(), file);
        let command = "python serve.py unet.onnx";
        assert_eq!(
            Place::parse(command),
            Ok(Place::Command(command.to_owned()))
        );
    }

    #[test]
    fn places_are_told_apart() {
        assert_eq!(
            Place::parse("unix:/tmp/a b"),
            Ok(Place::Socket("/tmp/a b".into()))
        );
        let command = Place::parse("python serve.py --x unix:").unwrap();
        assert_eq!(command, Place::Command("python serve.py --x unix:".into()));
        assert_eq!(command.shown(), "python serve.py --x unix:");
        let socket = Place::parse("unix:/tmp/dualmd-x1/denoiser").unwrap();
        assert_eq!(socket.shown(), "unix:/tmp/dualmd-x1/denoiser");
        assert_eq!(socket.of_caller().shown(), "a model in Python");
        assert_eq!(command.clone().of_caller(), command);
        assert!(Place::parse("unix:").is_err() && Place::parse("  ").is_err());
    }
}
