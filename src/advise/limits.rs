//! Gates and wishes together, and named sets of them.

use serde::{Deserialize, Serialize};

use super::{Gates, Wishes};

/// Everything that a file is held against.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "SavedLimits")]
pub struct Limits {
    /// What the verdict is about.
    pub gates: Gates,
    /// What is judged beside it.
    pub wishes: Wishes,
}

/// Limits under a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preset {
    /// Its name on screen.
    pub name: String,
    /// What it sets.
    pub limits: Limits,
}

impl Preset {
    /// The sets that come with Planish: the limits that it begins with, and those for a service that must be small and fast.
    #[must_use]
    pub fn built_in() -> [Self; 2] {
        let wishes = Wishes { max_memory_ratio: Some(0.5), min_speed_ratio: Some(2.0), ..Wishes::default() };
        let production = Limits { gates: Gates::default(), wishes };
        [
            Self { name: "Quality alone".into(), limits: Limits::default() },
            Self { name: "Production gates".into(), limits: production },
        ]
    }
}

/// How limits are written now, and how versions up to 0.1 wrote them: six fields side by side, four of them on at first.
#[derive(Deserialize)]
#[serde(default)]
struct SavedLimits {
    gates: Option<Gates>,
    wishes: Option<Wishes>,
    min_accuracy_ratio: Option<f64>,
    max_ppl_ratio: Option<f64>,
    max_mean_kld: Option<f64>,
    min_same_top: Option<f64>,
    max_memory_ratio: Option<f64>,
    min_speed_ratio: Option<f64>,
}

/// The values that those versions began with: a limit that still has its first value was not the user's choice.
impl Default for SavedLimits {
    fn default() -> Self {
        Self {
            gates: None,
            wishes: None,
            min_accuracy_ratio: Some(0.95),
            max_ppl_ratio: Some(1.05),
            max_mean_kld: None,
            min_same_top: None,
            max_memory_ratio: Some(0.5),
            min_speed_ratio: Some(2.0),
        }
    }
}

impl From<SavedLimits> for Limits {
    #[allow(clippy::float_cmp, reason = "a number that was written is read as it was")]
    fn from(saved: SavedLimits) -> Self {
        if saved.gates.is_some() || saved.wishes.is_some() {
            return Self { gates: saved.gates.unwrap_or_default(), wishes: saved.wishes.unwrap_or_default() };
        }
        let (first, now) = (SavedLimits::default(), Gates::default());
        let chosen = |value: Option<f64>, first: Option<f64>, now: Option<f64>| if value == first { now } else { value };
        Self {
            gates: Gates {
                min_accuracy_ratio: chosen(saved.min_accuracy_ratio, first.min_accuracy_ratio, now.min_accuracy_ratio),
                max_mean_kld: chosen(saved.max_mean_kld, first.max_mean_kld, now.max_mean_kld),
                min_same_top: chosen(saved.min_same_top, first.min_same_top, now.min_same_top),
                max_ppl_ratio: chosen(saved.max_ppl_ratio, first.max_ppl_ratio, now.max_ppl_ratio),
            },
            wishes: Wishes {
                max_memory_ratio: chosen(saved.max_memory_ratio, first.max_memory_ratio, None),
                min_speed_ratio: chosen(saved.min_speed_ratio, first.min_speed_ratio, None),
                ..Wishes::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again() {
        for preset in Preset::built_in() {
            let text = serde_json::to_string(&preset).unwrap();
            assert_eq!(serde_json::from_str::<Preset>(&text).unwrap(), preset);
        }
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), Limits::default());
    }

    #[test]
    fn limits_of_earlier_versions_are_the_new_ones_where_the_user_had_not_changed_them() {
        let untouched = r#"{"min_accuracy_ratio":0.95,"max_ppl_ratio":1.05,"max_mean_kld":null,"min_same_top":null,
            "max_memory_ratio":0.5,"min_speed_ratio":2.0}"#;
        assert_eq!(serde_json::from_str::<Limits>(untouched).unwrap(), Limits::default());
        let changed = r#"{"min_accuracy_ratio":0.9,"max_ppl_ratio":1.02,"max_mean_kld":0.05,"min_same_top":null,
            "max_memory_ratio":0.6,"min_speed_ratio":null}"#;
        let limits: Limits = serde_json::from_str(changed).unwrap();
        let gates =
            Gates { min_accuracy_ratio: Some(0.9), max_mean_kld: Some(0.05), max_ppl_ratio: Some(1.02), min_same_top: None };
        assert_eq!(limits.gates, gates);
        assert_eq!(limits.wishes, Wishes { max_memory_ratio: Some(0.6), ..Wishes::default() });
    }
}
