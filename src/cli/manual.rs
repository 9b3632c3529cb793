//! Manual pages (roff): one for the program and one for each command, with exit status, files and environment.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::examples::examples_of;
use crate::error::{Error, Result};

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "Done."),
    ("1", "Failed: an error: line says why, and a hint: line what can be done about it."),
    ("2", "Wrong usage; nothing was touched."),
    ("3", "The measurements are done, and gates or wishes were not met."),
    ("130", "Cancelled by SIGINT (Ctrl+C), SIGTERM or SIGHUP; no unfinished file is left, unless --resume was given."),
];

const FILES: [(&str, &str); 6] = [
    (
        "$XDG_CONFIG_HOME/planish/settings.json",
        "The choices made in the window. On macOS and Windows, in the system's own place for settings.",
    ),
    ("$XDG_DATA_HOME/planish/history.sqlite3", "Every measurement. On macOS and Windows, in the system's own place for data."),
    ("$XDG_DATA_HOME/planish/runtimes/", "Runtimes set up by planish runtime install. On macOS and Windows, in the same place."),
    ("NAME.gguf.part, NAME.gguf.part.journal", "A conversion in progress, or what --resume continues from."),
    ("NAME.gguf.manifest.json", "Beside each converted file: the checksum of every tensor, for planish verify."),
    ("NAME-mlx-LEVEL/planish.manifest.json", "The same in a folder for MLX or ONNX Runtime."),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    ("PLANISH_HISTORY", "The file to keep the history in, instead of the one above."),
    ("PLANISH_LOG", "What is logged to standard error, for example planish=debug; nothing by default."),
    ("HF_HUB_CACHE, HF_HOME", "Where to find the Hugging Face cache, as for huggingface_hub."),
    ("XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_CACHE_HOME", "Base folders on Linux."),
];

/// The manual page of the command that these words name below `root`; without words, the program's.
///
/// # Errors
/// `Error::BadRequest` for words that name no command.
pub(super) fn manual_page(mut root: Command, words: &[String]) -> Result<Vec<u8>> {
    root.build();
    let mut command = &root;
    for word in words {
        command = command
            .find_subcommand(word)
            .ok_or_else(|| Error::BadRequest { message: format!("there is no command planish {}", words.join(" ")) })?;
    }
    // Its examples have a section of their own.
    let man = Man::new(command.clone().after_help(None::<&str>)).source(format!("planish {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let parts = [Man::render_title, Man::render_name_section, Man::render_synopsis_section, Man::render_description_section];
    let failed = |error: std::io::Error| Error::Internal { message: format!("manual page: {error}") };
    for part in parts {
        part(&man, &mut page).map_err(failed)?;
    }
    man.render_options_section(&mut page).map_err(failed)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).map_err(failed)?;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    common_sections(examples_of(&words)).to_writer(&mut page).map_err(failed)?;
    Ok(page)
}

/// Examples, exit status, files and environment.
fn common_sections(examples: &[&str]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    roff.text(examples.iter().map(|example| roman(format!("{example}\n"))).collect::<Vec<_>>());
    roff.control("fi", []);
    for (title, entries) in [("EXIT STATUS", &EXIT_STATUS[..]), ("FILES", &FILES[..]), ("ENVIRONMENT", &ENVIRONMENT[..])] {
        roff.control("SH", [title]);
        for (term, text) in entries {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*text)]);
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;
    use super::*;

    #[test]
    fn each_command_has_a_page_with_status_files_and_environment() {
        let page = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            manual_page(Cli::command(), &words).map(|page| String::from_utf8(page).unwrap())
        };
        for words in [&[][..], &["convert"], &["history"], &["history", "export"]] {
            let text = page(words).unwrap();
            let title = [&["planish"], words].concat().join("-");
            assert!(text.contains(&format!(".TH {title} 1")), "{words:?}: {text}");
            for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "FILES", "ENVIRONMENT"] {
                let heading = if section.contains(' ') { format!(".SH \"{section}\"") } else { format!(".SH {section}\n") };
                assert!(text.contains(&heading), "{words:?} lacks {section}: {text}");
            }
        }
        assert!(page(&["convert"]).unwrap().contains("imatrix"));
        assert!(matches!(page(&["brew"]), Err(Error::BadRequest { message }) if message == "there is no command planish brew"));
    }
}
