//! What others publish about each framework, shown until this machine has measured it.

use serde::Serialize;

use crate::model::Framework;

/// A published expectation: for no machine in particular, so never in tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Published {
    /// How much smaller than the unquantized model.
    pub size: &'static str,
    /// How much faster.
    pub speed: &'static str,
    /// Who says so.
    pub source: &'static str,
}

/// Where the numbers come from.
const SOURCE: &str = "EdgeAI for Beginners, module 04";

impl Published {
    /// What is published about a framework.
    ///
    /// Source: the table "Performance Benchmarks" of microsoft/edgeai-for-beginners, Module04/README.md @ 3caf8b94; `~4GB` there is for
    /// 7 B weights.
    #[must_use]
    pub const fn of(framework: Framework) -> Self {
        let (size, speed) = match framework {
            Framework::LlamaCpp => ("7 B weights in about 4 GB", "2-3 times as fast"),
            Framework::OnnxRuntime => ("60-75 % smaller", "2-6 times as fast"),
            Framework::OpenVino => ("50-75 % smaller", "2-5 times as fast"),
            Framework::Mlx => ("7 B weights in about 4 GB", "2-4 times as fast"),
            Framework::Qnn => ("50-80 % smaller", "5-15 times as fast"),
        };
        Self { size, speed, source: SOURCE }
    }

    /// In one line: `published: 2-5 times as fast, 50-75 % smaller (EdgeAI for Beginners, module 04)`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("published: {}, {} ({})", self.speed, self.size, self.source)
    }
}
