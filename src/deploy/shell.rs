//! Commands that a person pastes into a terminal: paths as one word, and how to run a finished file.

use std::fmt::Display;
use std::path::Path;

use crate::convert::model_name_of;
use crate::path_text;

/// A path as one word of a POSIX shell, and never as an option.
///
/// On Unix, a path that is not UTF-8 or has control characters is written byte by byte (`$'…'`, which bash, zsh and ksh read).
#[must_use]
pub fn quoted_path(path: &Path) -> String {
    #[cfg(unix)]
    if !path_text::is_utf8(path) || path_text::searchable(path.as_os_str()).contains(char::is_control) {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = path.as_os_str().as_bytes();
        let word: String = bytes
            .iter()
            .map(|&byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(byte)),
                b' '..=b'~' => char::from(byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            })
            .collect();
        return format!("$'{}{word}'", if bytes.starts_with(b"-") { "./" } else { "" });
    }
    let text = path_text::searchable(path.as_os_str());
    quoted(&if text.starts_with('-') { format!("./{text}") } else { text.into_owned() })
}

/// A text as one word of a POSIX shell: as it is where that is safe, else in single quotes.
#[must_use]
pub fn quoted(text: &(impl Display + ?Sized)) -> String {
    let text = text.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The command that runs a file in llama.cpp's own chat.
#[must_use]
pub fn llama_cli_command(path: &Path) -> String {
    format!("llama-cli --model {}", quoted_path(&absolute(path)))
}

/// The command that runs a folder in mlx-lm's own chat.
#[must_use]
pub fn mlx_command(path: &Path) -> String {
    format!("mlx_lm.chat --model {}", quoted_path(&absolute(path)))
}

/// The command that hands a file to Ollama and starts it there: a Modelfile of one line tells Ollama which file to copy.
///
/// In Ollama the model is called `model_stem` without the level that it may end in, with `level` as its tag.
///
/// There is no TEMPLATE: without one, Ollama takes the chat template in the file.
///
/// Source: `FROM` in docs/modelfile.mdx and parser/parser.go of Ollama, where the value goes to the end of the line.
#[must_use]
pub fn ollama_command(path: &Path, model_stem: &str, level: &str) -> String {
    let name = ollama_name(model_name_of(model_stem), level);
    let path = quoted_path(&absolute(path));
    format!("printf 'FROM %s\\n' {path} > Modelfile && ollama create {name} -f Modelfile && ollama run {name}")
}

/// A name that Ollama takes: lower case, with the level as its tag.
fn ollama_name(model_stem: &str, level: &str) -> String {
    let clean = |text: &str| -> String {
        let known = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c.to_ascii_lowercase() } else { '-' };
        text.chars().map(known).collect::<String>().trim_matches(['-', '.', '_']).to_string()
    };
    let (stem, level) = (clean(model_stem), clean(level));
    let stem = if stem.is_empty() { "model".into() } else { stem };
    if level.is_empty() { stem } else { format!("{stem}:{level}") }
}

/// The absolute path, because the terminal may be in another folder.
fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        let check = |path: &str, expected: &str| assert_eq!(quoted_path(Path::new(path)), expected);
        check("/models/a-Q4_K_M.gguf", "/models/a-Q4_K_M.gguf");
        check("my model.gguf", "'my model.gguf'");
        check("it's; rm -rf $HOME.gguf", "'it'\\''s; rm -rf $HOME.gguf'");
        check("--force", "./--force");
        check("~x", "'~x'");
        check("", "''");
        check("a\nb.gguf", if cfg!(unix) { "$'a\\x0ab.gguf'" } else { "'a\nb.gguf'" });
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_unicode_keeps_its_bytes() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/m/a'\xff b.gguf"));
        assert_eq!(quoted_path(path), "$'/m/a\\'\\xff b.gguf'");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_run_by_one_line() {
        let path = Path::new("/my models/Llama-3 8B-Q4_K_M.gguf");
        assert_eq!(mlx_command(Path::new("/m/a b-mlx-4-bit-g64")), "mlx_lm.chat --model '/m/a b-mlx-4-bit-g64'");
        assert_eq!(llama_cli_command(path), "llama-cli --model '/my models/Llama-3 8B-Q4_K_M.gguf'");
        assert_eq!(
            ollama_command(path, "Llama-3 8B", "Q4_K_M custom"),
            "printf 'FROM %s\\n' '/my models/Llama-3 8B-Q4_K_M.gguf' > Modelfile && \
             ollama create llama-3-8b:q4_k_m-custom -f Modelfile && ollama run llama-3-8b:q4_k_m-custom"
        );
        assert!(ollama_command(path, "m-BF16", "Q8_0").contains("ollama create m:q8_0 "));
        assert_eq!(ollama_name("モデル", ""), "model");
    }
}
