//! Expands what a crate's own `macro_rules!` make of items: enough of Rust's macros for that.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Ident, ImplItem, Item, Macro};

/// The macros that were declared so far.
#[derive(Default)]
pub(super) struct Macros(BTreeMap<String, Vec<Rule>>);

/// What is matched, and what it becomes.
struct Rule {
    pattern: Vec<Part>,
    body: Vec<Part>,
}

enum Part {
    Token(TokenTree),
    /// `$name`, with what it may be in a pattern.
    Variable(String, String),
    Repeat {
        parts: Vec<Part>,
        between: Option<TokenTree>,
        at_most_once: bool,
    },
    Group(Delimiter, Vec<Part>),
}

/// What a variable stands for: tokens, or a list of such for each round of a repetition.
#[derive(Clone)]
enum Bound {
    Tokens(TokenStream),
    Rounds(Vec<Bound>),
}

type Bounds = BTreeMap<String, Bound>;

impl Macros {
    /// Puts what macros make in their place, also in blocks of `impl`; others stay as they are.
    pub(super) fn expand_items(&mut self, items: impl IntoIterator<Item = Item>) -> Vec<Item> {
        let mut expanded = Vec::new();
        for item in items {
            match item {
                Item::Macro(item) if item.mac.path.is_ident("macro_rules") => {
                    let name = item.ident.as_ref().map(Ident::to_string).unwrap_or_default();
                    self.0.insert(name, rules(item.mac.tokens.clone()));
                    expanded.push(Item::Macro(item));
                }
                Item::Macro(item) => match self.expand(&item.mac) {
                    Some(tokens) => {
                        let file: syn::File = syn::parse2(tokens).unwrap();
                        expanded.extend(self.expand_items(file.items));
                    }
                    None => expanded.push(Item::Macro(item)),
                },
                Item::Impl(mut item) => {
                    let mut items = Vec::new();
                    for member in std::mem::take(&mut item.items) {
                        let tokens = match &member {
                            ImplItem::Macro(call) => self.expand(&call.mac),
                            _ => None,
                        };
                        match tokens {
                            Some(tokens) => items.extend(members(tokens)),
                            None => items.push(member),
                        }
                    }
                    item.items = items;
                    expanded.push(Item::Impl(item));
                }
                item => expanded.push(item),
            }
        }
        expanded
    }

    /// Expands a call of a macro that is known.
    fn expand(&self, call: &Macro) -> Option<TokenStream> {
        let name = call.path.segments.last()?.ident.to_string();
        let rules = self.0.get(&name)?;
        let matching = rules.iter().find_map(|rule| {
            let mut bounds = Bounds::new();
            let matched = |input: ParseStream<'_>| matches(&rule.pattern, input, &mut bounds);
            matched.parse2(call.tokens.clone()).ok()?;
            Some(fill(&rule.body, &bounds))
        });
        Some(matching.unwrap_or_else(|| panic!("no rule of {name}! matches {}", call.tokens)))
    }
}

fn members(tokens: TokenStream) -> Vec<ImplItem> {
    let body = Group::new(Delimiter::Brace, tokens);
    let item: syn::ItemImpl = syn::parse2(quote::quote!(impl Anything #body)).unwrap();
    item.items
}

fn rules(tokens: TokenStream) -> Vec<Rule> {
    let groups: Vec<Group> = tokens
        .into_iter()
        .filter_map(|token| match token {
            TokenTree::Group(group) => Some(group),
            _ => None,
        })
        .collect();
    let rule = |pair: &[Group]| Rule {
        pattern: parts(pair[0].stream(), true),
        body: parts(pair[1].stream(), false),
    };
    groups.chunks_exact(2).map(rule).collect()
}

fn parts(tokens: TokenStream, is_pattern: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Group(group)) => {
                    let mut between = None;
                    let operator = loop {
                        match tokens.next() {
                            Some(TokenTree::Punct(punct)) if "*+?".contains(punct.as_char()) => {
                                break punct.as_char();
                            }
                            other => between = other,
                        }
                    };
                    let parts_of_group = self::parts(group.stream(), is_pattern);
                    let at_most_once = operator == '?';
                    parts.push(Part::Repeat { parts: parts_of_group, between, at_most_once });
                }
                Some(TokenTree::Ident(name)) => {
                    let mut kind = String::new();
                    if is_pattern {
                        tokens.next();
                        kind = tokens.next().map(|kind| kind.to_string()).unwrap_or_default();
                    }
                    parts.push(Part::Variable(name.to_string(), kind));
                }
                other => panic!("$ before {other:?}"),
            },
            TokenTree::Group(group) => {
                parts.push(Part::Group(group.delimiter(), self::parts(group.stream(), is_pattern)));
            }
            token => parts.push(Part::Token(token)),
        }
    }
    parts
}

fn matches(parts: &[Part], input: ParseStream<'_>, bounds: &mut Bounds) -> syn::Result<()> {
    for part in parts {
        match part {
            Part::Token(token) => expect(token, input)?,
            Part::Variable(name, kind) => {
                bounds.insert(name.clone(), Bound::Tokens(fragment(kind, input)?));
            }
            Part::Group(delimiter, parts) => {
                let TokenTree::Group(group) = input.parse()? else {
                    return Err(input.error("expected a group"));
                };
                if group.delimiter() != *delimiter {
                    return Err(input.error("another delimiter"));
                }
                let inner = |input: ParseStream<'_>| matches(parts, input, bounds);
                inner.parse2(group.stream())?;
            }
            Part::Repeat { parts, between, at_most_once } => {
                let mut rounds = Vec::new();
                let most = if *at_most_once { 1 } else { usize::MAX };
                while rounds.len() < most && !input.is_empty() {
                    let ahead = input.fork();
                    let mut round = Bounds::new();
                    let separated = match between {
                        Some(token) if !rounds.is_empty() => expect(token, &ahead),
                        _ => Ok(()),
                    };
                    if separated.and_then(|()| matches(parts, &ahead, &mut round)).is_err() {
                        break;
                    }
                    input.advance_to(&ahead);
                    rounds.push(round);
                }
                for name in variables(parts) {
                    let of_name = rounds.iter().filter_map(|round| round.get(&name).cloned());
                    let of_name = of_name.collect();
                    bounds.insert(name, Bound::Rounds(of_name));
                }
            }
        }
    }
    Ok(())
}

fn expect(token: &TokenTree, input: ParseStream<'_>) -> syn::Result<()> {
    let next: TokenTree = input.parse()?;
    match next.to_string() == token.to_string() {
        true => Ok(()),
        false => Err(input.error("another token")),
    }
}

fn fragment(kind: &str, input: ParseStream<'_>) -> syn::Result<TokenStream> {
    Ok(match kind {
        "ident" => input.call(Ident::parse_any)?.into_token_stream(),
        "ty" => input.parse::<syn::Type>()?.into_token_stream(),
        "expr" => input.parse::<syn::Expr>()?.into_token_stream(),
        "literal" => input.parse::<syn::Lit>()?.into_token_stream(),
        "meta" => input.parse::<syn::Meta>()?.into_token_stream(),
        "path" => input.parse::<syn::Path>()?.into_token_stream(),
        "vis" => input.parse::<syn::Visibility>()?.into_token_stream(),
        "tt" => input.parse::<TokenTree>()?.into_token_stream(),
        other => panic!("a macro has a fragment of kind {other}"),
    })
}

fn variables(parts: &[Part]) -> Vec<String> {
    let mut names = Vec::new();
    for part in parts {
        match part {
            Part::Token(_) => {}
            Part::Variable(name, _) => names.push(name.clone()),
            Part::Repeat { parts, .. } | Part::Group(_, parts) => names.extend(variables(parts)),
        }
    }
    names
}

fn fill(parts: &[Part], bounds: &Bounds) -> TokenStream {
    let mut filled = TokenStream::new();
    for part in parts {
        match part {
            Part::Token(token) => filled.append(token.clone()),
            Part::Group(delimiter, parts) => {
                filled.append(Group::new(*delimiter, fill(parts, bounds)));
            }
            Part::Variable(name, _) => match bounds.get(name) {
                Some(Bound::Tokens(tokens)) => filled.extend(tokens.clone()),
                Some(Bound::Rounds(_)) => panic!("${name} is still repeated"),
                None => filled.append(Ident::new(name, proc_macro2::Span::call_site())),
            },
            Part::Repeat { parts, between, .. } => {
                let names = variables(parts);
                let rounds = names.iter().filter_map(|name| match bounds.get(name) {
                    Some(Bound::Rounds(rounds)) => Some(rounds.len()),
                    _ => None,
                });
                for round in 0..rounds.max().unwrap_or(0) {
                    if let (Some(token), true) = (between, round > 0) {
                        filled.append(token.clone());
                    }
                    let mut inner = bounds.clone();
                    for name in &names {
                        if let Some(Bound::Rounds(rounds)) = bounds.get(name)
                            && let Some(bound) = rounds.get(round)
                        {
                            inner.insert(name.clone(), bound.clone());
                        }
                    }
                    filled.extend(fill(parts, &inner));
                }
            }
        }
    }
    filled
}
