//! Colours and texts that the window, the report and the export share.

use crate::model::{Framework, Level, PrecisionClass};

/// How a level is marked: the colour tells its precision class, the shape its framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LevelLook {
    /// The framework.
    pub framework: Framework,
    /// The precision class.
    pub class: PrecisionClass,
}

impl LevelLook {
    /// The look of a level.
    #[must_use]
    pub fn of(level: Level) -> Self {
        Self { framework: level.framework(), class: level.class() }
    }
}

/// The legend of these looks: each look once with its words, by framework, the most precise class first, the source (`None`)
/// last. The words name the framework if there are several. Empty for no looks.
#[must_use]
pub fn legend_of(looks: &[Option<LevelLook>]) -> Vec<(Option<LevelLook>, String)> {
    let mut known: Vec<LevelLook> = looks.iter().flatten().copied().collect();
    known.sort_unstable();
    known.dedup();
    let is_mixed = known.iter().any(|look| look.framework != known[0].framework);
    let words = |look: &LevelLook| {
        let class = look.class.label();
        if is_mixed { format!("{}, {}", look.framework.name(), class.to_lowercase()) } else { class.into() }
    };
    let mut items: Vec<_> = known.iter().map(|look| (Some(*look), words(look))).collect();
    if looks.contains(&None) {
        items.push((None, "Source".into()));
    }
    items
}

/// Red, green and blue of a precision class in marks and bars, on light and on dark ground: from steel to glowing.
#[must_use]
pub const fn class_rgb(class: PrecisionClass) -> [u8; 3] {
    match class {
        PrecisionClass::Full => [0x64, 0x80, 0x9E],
        PrecisionClass::Medium => [0x2E, 0x94, 0x84],
        PrecisionClass::Low => [0xB0, 0x79, 0x16],
        PrecisionClass::UltraLow => [0xCF, 0x54, 0x44],
    }
}

/// The text as content or attribute of XML and HTML, whatever is in it.
///
/// Control characters, and those that change the direction of the text around them, become `�`. Tabs and line feeds stay.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}' => safe.push('\u{FFFD}'),
            c if c.is_control() => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    safe
}

/// A name that fits beside a mark: at most 24 characters, a longer one ends in `…`. Control characters become spaces.
#[must_use]
pub fn shortened(name: &str) -> String {
    const MAX_CHARS: usize = 24;
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if name.chars().count() <= MAX_CHARS {
        return name;
    }
    name.chars().take(MAX_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_read_as_markup() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("<&\">'", "&lt;&amp;&quot;&gt;&#39;");
        check("a\u{0}\u{1b}[31m\u{85}b\tc\nd", "a\u{FFFD}\u{FFFD}[31m\u{FFFD}b\tc\nd");
        check("x\u{202E}fdp.gguf", "x\u{FFFD}fdp.gguf");
        check("größer 字", "größer 字");
    }

    #[test]
    fn a_legend_names_frameworks_where_there_are_several() {
        let look = |level| Some(LevelLook::of(level));
        let texts = |looks: &[Option<LevelLook>]| legend_of(looks).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let own = [look(Level::Q4_K_M), None, look(Level::Q8_0), look(Level::Q4_0)];
        assert_eq!(texts(&own), ["Medium, 5-8 bits", "Low, 3-4 bits", "Source"]);
        let mixed = [look("mlx:4-bit".parse().unwrap()), look(Level::Q8_0)];
        assert_eq!(texts(&mixed), ["llama.cpp, medium, 5-8 bits", "MLX, low, 3-4 bits"]);
        assert!(legend_of(&[]).is_empty());
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened("Q4_K_M"), "Q4_K_M");
        assert_eq!(shortened(&"x".repeat(40)).chars().count(), 24);
        assert_eq!(shortened("a\nb"), "a b");
    }
}
