//! Writes types and signatures the same way however the sources write them.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, Generics, ReturnType, Signature};

/// Writes tokens of a type, a bound or a path, without the modules in front of names.
pub fn tidy(tokens: impl ToTokens) -> String {
    let mut pieces = Vec::new();
    flatten(tokens.into_token_stream(), &mut pieces);
    let mut text = String::new();
    let pieces = without_modules(pieces);
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 && needs_space(&pieces[place - 1], piece) {
            text.push(' ');
        }
        text.push_str(piece);
    }
    text
}

fn needs_space(before: &str, piece: &str) -> bool {
    if matches!(before, "(" | "[" | "<" | "::" | "." | "&" | "*" | "!" | "?") {
        return false;
    }
    // A name or `>` may have arguments behind it, a keyword has not.
    let is_keyword = matches!(before, "mut" | "dyn" | "impl" | "const" | "where");
    let is_name =
        before.ends_with(|letter: char| letter.is_alphanumeric() || "_>".contains(letter));
    match piece {
        "," | ";" | "." | ">" | ")" | "]" | "::" | ":" => false,
        "<" | "(" => is_keyword || before == "->" || !is_name,
        _ => true,
    }
}

fn flatten(tokens: TokenStream, pieces: &mut Vec<String>) {
    let mut joined = String::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                pieces.extend((!open.is_empty()).then(|| open.to_owned()));
                flatten(group.stream(), pieces);
                pieces.extend((!close.is_empty()).then(|| close.to_owned()));
            }
            TokenTree::Punct(punct) => {
                joined.push(punct.as_char());
                let goes_on = punct.spacing() == Spacing::Joint;
                let is_start = matches!(joined.as_str(), "-" | ":" | "'");
                if !(goes_on && is_start) {
                    pieces.push(std::mem::take(&mut joined));
                }
            }
            token => pieces.push(std::mem::take(&mut joined) + &token.to_string()),
        }
    }
}

/// Takes `a::b::` away from `a::b::Name`.
fn without_modules(pieces: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for piece in pieces {
        let is_module = |name: &String| name.starts_with(|letter: char| letter.is_lowercase());
        if piece == "::" && kept.last().is_none_or(is_module) {
            kept.pop();
        } else {
            kept.push(piece);
        }
    }
    kept
}

/// Writes `<'a, T: Bound>`, or nothing.
pub fn parameters(generics: &Generics) -> String {
    match generics.params.is_empty() {
        true => String::new(),
        false => format!("<{}>", list(generics.params.iter().map(tidy))),
    }
}

/// Writes ` where ..`, or nothing.
pub fn conditions(generics: &Generics) -> String {
    let Some(clause) = &generics.where_clause else { return String::new() };
    match clause.predicates.is_empty() {
        true => String::new(),
        false => format!(" where {}", list(clause.predicates.iter().map(tidy))),
    }
}

/// Writes a function under its path; names of arguments are nobody's matter.
pub fn signature(path: &str, signature: &Signature) -> String {
    let arguments = list(signature.inputs.iter().map(|argument| match argument {
        FnArg::Receiver(receiver) => self_argument(receiver),
        FnArg::Typed(argument) => tidy(&argument.ty),
    }));
    let answer = match &signature.output {
        ReturnType::Default => String::new(),
        ReturnType::Type(_, answer) => format!(" -> {}", tidy(answer)),
    };
    let words = [
        signature.constness.map(|_| "const "),
        signature.asyncness.map(|_| "async "),
        signature.abi.as_ref().map(|_| "extern "),
    ];
    let words: String = words.into_iter().flatten().collect();
    let generics = &signature.generics;
    let (parameters, conditions) = (parameters(generics), conditions(generics));
    format!("{words}fn {path}{parameters}({arguments}){answer}{conditions}")
}

/// Writes `self`, `&self`, `&mut self` or `self: Type`; `mut self` is `self` to who calls.
fn self_argument(receiver: &syn::Receiver) -> String {
    let written = tidy(receiver);
    written.strip_prefix("mut ").unwrap_or(&written).to_owned()
}

/// Joins with commas.
pub fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
