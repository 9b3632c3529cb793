//! The frameworks that a model can be prepared for.

use serde::Serialize;

/// The five frameworks that Planish recommends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Framework {
    LlamaCpp,
    OnnxRuntime,
    OpenVino,
    Mlx,
    Qnn,
}

/// What an output of a framework is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactKind {
    /// One file, whose name ends so.
    File {
        /// With its dot.
        ending: &'static str,
    },
    /// A folder.
    Folder,
}

impl ArtifactKind {
    /// How its name ends: with nothing for a folder.
    #[must_use]
    pub const fn ending(self) -> &'static str {
        match self {
            Self::File { ending } => ending,
            Self::Folder => "",
        }
    }
}

impl Framework {
    /// All five, in the order of the design's table.
    pub const ALL: [Self; 5] = [Self::LlamaCpp, Self::OnnxRuntime, Self::OpenVino, Self::Mlx, Self::Qnn];

    /// The name that its makers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::OnnxRuntime => "Olive / ONNX Runtime",
            Self::OpenVino => "OpenVINO",
            Self::Mlx => "MLX",
            Self::Qnn => "QNN",
        }
    }

    /// What its outputs are.
    #[must_use]
    pub const fn artifact(self) -> ArtifactKind {
        match self {
            Self::LlamaCpp => ArtifactKind::File { ending: ".gguf" },
            Self::OnnxRuntime | Self::OpenVino | Self::Mlx | Self::Qnn => ArtifactKind::Folder,
        }
    }
}
