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

/// What a framework's output is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactKind {
    /// One file with this ending.
    File {
        /// The ending with its dot.
        ending: &'static str,
    },
    /// A folder.
    Folder,
}

impl ArtifactKind {
    /// The ending of its name with the dot; empty for a folder.
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

    /// What its outputs are on the disk.
    #[must_use]
    pub const fn artifact(self) -> ArtifactKind {
        match self {
            Self::LlamaCpp => ArtifactKind::File { ending: ".gguf" },
            Self::OnnxRuntime | Self::OpenVino | Self::Mlx | Self::Qnn => ArtifactKind::Folder,
        }
    }
}
