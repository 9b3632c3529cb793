//! `planish errors`: the error of every tensor of a converted file.

use std::path::Path;

use super::output::{columns_text, print_json, print_text};
use super::progress;
use crate::bench::tensors::tensor_error::{TensorErrors, tensor_errors};
use crate::error::Result;
use crate::units::{cosine_text, count_text, small_percent_text, small_text};

pub(super) fn errors(source: &Path, model: &Path, as_json: bool) -> Result<()> {
    let found = tensor_errors(source, model, &progress::monitor())?;
    if as_json {
        print_json(&found)?;
    } else {
        print_text(&errors_text(&found))?;
    }
    found.check()
}

/// The table, the error of the whole, and the warnings.
fn errors_text(found: &TensorErrors) -> String {
    let rows: Vec<Vec<String>> = found
        .worst_first()
        .into_iter()
        .map(|tensor| {
            let found = tensor.result.as_ref().ok();
            let number = |text: Option<String>| text.unwrap_or_else(|| "–".into());
            vec![
                tensor.name.clone(),
                tensor.types_text(),
                count_text(tensor.n_elements),
                number(found.map(|difference| small_percent_text(difference.relative_rms))),
                number(found.map(|difference| small_text(difference.max_abs))),
                number(found.and_then(|difference| difference.cosine).map(cosine_text)),
                match &tensor.result {
                    Ok(difference) if difference.is_identical => "identical".into(),
                    Ok(_) => String::new(),
                    Err(mismatch) => mismatch.to_string(),
                },
            ]
        })
        .collect();
    let mut text =
        columns_text(&["tensor", "types", "weights", "relative RMS error", "largest", "cosine", ""], &rows, &[2, 3, 4, 5]);
    if let Some(overall) = found.overall_relative_rms {
        text.push_str(&format!("\n\nrelative RMS error of all weights: {}", small_percent_text(overall)));
    }
    for warning in &found.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tensors::difference::{Difference, Mismatch};
    use crate::bench::tensors::tensor_error::TensorError;
    use crate::model::DType;

    #[test]
    fn the_worst_come_first_with_their_numbers() {
        let tensor = |name: &str, result| TensorError {
            name: name.into(),
            layer_idx: None,
            kind: name.into(),
            source_dtype: Some(DType::F16),
            converted_dtype: Some(DType::Q8_0),
            packed: None,
            n_elements: 4096,
            result,
        };
        let difference = |relative_rms| Difference { relative_rms, max_abs: 0.0012, cosine: Some(0.999_98), is_identical: false };
        let found = TensorErrors {
            source: "a".into(),
            converted: "b".into(),
            tensors: vec![
                tensor("same", Ok(Difference::IDENTICAL)),
                tensor("near", Ok(difference(0.0041))),
                tensor("gone", Err(Mismatch::OnlyInSource)),
            ],
            overall_relative_rms: Some(0.0033),
            warnings: vec!["one is gone".into()],
        };
        let text = errors_text(&found);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["gone", "F16", "→", "Q8_0", "4,096", "–", "–", "–", "missing", "in", "the", "converted", "file"]);
        assert_eq!(lines[2], ["near", "F16", "→", "Q8_0", "4,096", "0.410", "%", "0.0012", "0.999980"]);
        assert_eq!(lines[3], ["same", "F16", "→", "Q8_0", "4,096", "0", "%", "0", "1.000000", "identical"]);
        assert!(text.ends_with("relative RMS error of all weights: 0.330 %\nwarning: one is gone"), "{text}");
    }
}
