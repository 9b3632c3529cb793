//! Options that change a level's recipe, with llama-quantize's names.

use std::fmt::Display;

use clap::Args;

use crate::advise::fallback::Fallback;
use crate::advise::mlx_changes::{MlxChanges, MlxType};
use crate::advise::overrides::{AnyType, NamedType, layers_from_text};
use crate::advise::{Overrides, TensorType};
use crate::error::{Error, Result};
use crate::model::DType;

/// Heading of these options in the help. Not set on the whole struct: clap would put what comes after it under the heading too.
const HEADING: &str = "Changes to every level's recipe; the outputs are then called NAME-LEVEL-custom";

#[derive(Debug, Clone, Default, Args)]
pub(super) struct OverrideArgs {
    /// Type of the tensors whose names contain a match; the first one that matches wins. llama.cpp's types and names change its levels
    /// ('blk\.[0-3]\.attn_v=Q8_0'), MLX's change MLX folders ('layers\.[0-3]\..*v_proj=mlx:8-bit', mlx:mxfp4, mlx:float)
    #[arg(long, help_heading = HEADING, value_name = "REGEX=TYPE")]
    tensor_type: Vec<TensorType<AnyType>>,
    /// Type of the output head; may be given once for each framework
    #[arg(long, help_heading = HEADING, value_name = "TYPE", value_parser = AnyType::from_name)]
    output_tensor_type: Vec<AnyType>,
    /// Type of the token embeddings; may be given once for each framework
    #[arg(long, help_heading = HEADING, value_name = "TYPE", value_parser = AnyType::from_name)]
    token_embedding_type: Vec<AnyType>,
    /// Give all matrices the level's own type, without its exceptions; like the options below, only for levels of llama.cpp
    #[arg(long, help_heading = HEADING)]
    pure: bool,
    /// Leave out these layers, counted from 0; the later ones move up
    #[arg(long, help_heading = HEADING, value_name = "N[,N-N…]", value_parser = Layers::from_text)]
    prune_layers: Option<Layers>,
    /// What takes the place of a type whose blocks do not fit a tensor's rows: lowest-error (of what is not larger than llama.cpp's
    /// choice), llama.cpp, same-size (about as large as the type that does not fit)
    #[arg(long, help_heading = HEADING, value_name = "MENU", default_value_t)]
    fallback: Fallback,
}

/// A set of layers as one value: clap would take a bare set for an option that is given several times.
#[derive(Debug, Clone)]
struct Layers(std::collections::BTreeSet<u64>);

impl Layers {
    fn from_text(text: &str) -> crate::error::Result<Self> {
        layers_from_text(text).map(Self)
    }
}

impl OverrideArgs {
    /// The changes.
    ///
    /// # Errors
    /// `Error::BadRequest` for two types of one framework where there can be one.
    pub(super) fn to_overrides(&self) -> Result<Overrides> {
        let mut overrides = Overrides {
            output: one(&self.output_tensor_type, of_ggml)?,
            token_embedding: one(&self.token_embedding_type, of_ggml)?,
            pure: self.pure,
            pruned_layers: self.prune_layers.as_ref().map(|layers| layers.0.clone()).unwrap_or_default(),
            fallback: self.fallback,
            mlx: MlxChanges {
                output: one(&self.output_tensor_type, of_mlx)?,
                token_embedding: one(&self.token_embedding_type, of_mlx)?,
                ..MlxChanges::default()
            },
            ..Overrides::default()
        };
        for TensorType { pattern, dtype } in self.tensor_type.iter().cloned() {
            match dtype {
                AnyType::Ggml(dtype) => overrides.tensor_types.push(TensorType { pattern, dtype }),
                AnyType::Mlx(dtype) => overrides.mlx.tensor_types.push(TensorType { pattern, dtype }),
            }
        }
        Ok(overrides)
    }
}

/// The type of one framework; `None` where none was given.
fn one<T: Display>(given: &[AnyType], of_framework: impl Fn(AnyType) -> Option<T>) -> Result<Option<T>> {
    let mut of_framework = given.iter().copied().filter_map(of_framework);
    match (of_framework.next(), of_framework.next()) {
        (Some(first), Some(second)) => {
            Err(Error::BadRequest { message: format!("{first} and {second} are both asked for, and a tensor has one type") })
        }
        (first, _) => Ok(first),
    }
}

fn of_ggml(wanted: AnyType) -> Option<DType> {
    if let AnyType::Ggml(dtype) = wanted { Some(dtype) } else { None }
}

fn of_mlx(wanted: AnyType) -> Option<MlxType> {
    if let AnyType::Mlx(dtype) = wanted { Some(dtype) } else { None }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        overrides: OverrideArgs,
    }

    fn parse(text: &str) -> std::result::Result<Overrides, i32> {
        let args = std::iter::once("planish").chain(text.split_whitespace());
        Cli::try_parse_from(args).map(|cli| cli.overrides.to_overrides().unwrap()).map_err(|error| error.exit_code())
    }

    #[test]
    fn a_tensor_has_one_type_in_each_framework() {
        let args =
            ["planish", "--output-tensor-type", "Q8_0", "--output-tensor-type", "mlx:8-bit", "--output-tensor-type", "F16"];
        let found = Cli::try_parse_from(args).unwrap().overrides.to_overrides();
        assert!(
            matches!(&found, Err(Error::BadRequest { message }) if message.starts_with("Q8_0 and F16 are both")),
            "{found:?}"
        );
    }

    #[test]
    fn options_are_read_in_their_order() {
        let found = parse("--tensor-type attn_v=q6_k --pure --tensor-type attn=Q5_K --prune-layers 3,5-7 --fallback llama.cpp");
        let found = found.unwrap();
        let text = "--tensor-type 'attn_v=Q6_K' --tensor-type 'attn=Q5_K' --pure --prune-layers 3,5,6,7 --fallback llama.cpp";
        assert_eq!(found.to_string(), text);
        assert_eq!(parse("").unwrap(), Overrides::default());
        let both = parse("--output-tensor-type q8_0 --token-embedding-type F16").unwrap();
        assert_eq!((both.output, both.token_embedding), (Some(DType::Q8_0), Some(DType::F16)));
        let text =
            "--tensor-type attn_v=Q6_K --tensor-type v_proj=mlx:6-bit --output-tensor-type mlx:8-bit --output-tensor-type Q8_0";
        let expected = "--tensor-type 'attn_v=Q6_K' --output-tensor-type Q8_0 --tensor-type 'v_proj=mlx:6-bit-g64' --output-tensor-type \
                        mlx:8-bit-g64";
        assert_eq!(parse(text).unwrap().to_string(), expected);
    }

    #[test]
    fn wrong_usage_is_found_before_any_work() {
        let check = |text: &str| assert_eq!(parse(text), Err(2), "{text}");
        check("--tensor-type attn_v");
        check("--tensor-type attn(_v=Q6_K");
        check("--tensor-type attn_v=Q9");
        check("--output-tensor-type I32");
        check("--token-embedding-type q9");
        check("--token-embedding-type mlx:7-bit");
        check("--prune-layers 7-5");
        check("--fallback best");
    }
}
