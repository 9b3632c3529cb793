//! The programs and libraries that run models.

use serde::{Deserialize, Serialize};

use super::Framework;

/// A program or library that runs models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeId {
    /// llama.cpp, in this executable.
    LlamaCpp,
    /// ONNX Runtime, a library among the packages of a Python that the user or Planish has set up.
    OnnxRuntime,
    /// mlx-lm, in a Python that the user or Planish has set up.
    Mlx,
    /// Planish's own forward pass, which runs checkpoints.
    Planish,
}

impl RuntimeId {
    /// All that run the outputs of a framework.
    pub const ALL: [Self; 3] = [Self::LlamaCpp, Self::OnnxRuntime, Self::Mlx];

    /// The runtime for a framework's outputs; `None` where Planish knows none.
    #[must_use]
    pub fn of(framework: Framework) -> Option<Self> {
        match framework {
            Framework::LlamaCpp => Some(Self::LlamaCpp),
            Framework::OnnxRuntime => Some(Self::OnnxRuntime),
            Framework::Mlx => Some(Self::Mlx),
            Framework::OpenVino | Framework::Qnn => None,
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::OnnxRuntime => "ONNX Runtime",
            Self::Mlx => "MLX",
            Self::Planish => "Planish's own",
        }
    }

    /// Its name on the command line and in names of folders.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::OnnxRuntime => "onnxruntime",
            Self::Mlx => "mlx",
            Self::Planish => "planish",
        }
    }

    /// The Python packages that it needs, its own first, each with the oldest `(major, minor)` version that is accepted; empty
    /// for a built-in runtime. Only the pinned versions of `assets/runtimes` are tested.
    #[must_use]
    pub fn packages(self) -> &'static [(&'static str, (u32, u32))] {
        match self {
            Self::LlamaCpp | Self::Planish => &[],
            // Older ones lack version 24 of the library's interface, which the crate `ort` is built for here.
            Self::OnnxRuntime => &[("onnxruntime", (1, 24)), ("onnxruntime_genai", (0, 12))],
            Self::Mlx => &[("mlx", (0, 30)), ("mlx_lm", (0, 30))],
        }
    }
}
