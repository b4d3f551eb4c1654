//! Reads `#[transient]` and `#[checkpoint(…)]`.

use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, LitInt, LitStr, Meta, Path, Token, WherePredicate};

use crate::ast::{Storage, TransientDefault};
use crate::errors::Errors;

/// What `#[checkpoint(…)]` on a type says.
pub(crate) struct ItemAttributes {
    pub(crate) krate: Path,
    pub(crate) bound: Option<Vec<WherePredicate>>,
}

/// What the attributes of a field say.
pub(crate) struct FieldAttributes {
    pub(crate) storage: Storage,
}

const SERDE_FORM: &str = "`#[checkpoint(serde, version = 1)]`";

/// Reads the attributes of a type.
pub(crate) fn item(attributes: &[Attribute], errors: &mut Errors) -> ItemAttributes {
    let mut krate: Option<Path> = None;
    let mut bound: Option<Vec<WherePredicate>> = None;
    let mut serde_reported = false;
    for attribute in attributes {
        if attribute.path().is_ident("transient") {
            errors.push(
                attribute.path(),
                "`#[transient]` belongs on a field: a type that is not stored at all needs no \
                 `#[derive(Checkpointable)]`",
            );
        }
        each_key(attribute, errors, |meta, errors| {
            if meta.path.is_ident("crate") {
                once(&krate, &meta, errors);
                krate = Some(path(&string(&meta)?)?);
            } else if meta.path.is_ident("bound") {
                once(&bound, &meta, errors);
                bound = Some(predicates(&string(&meta)?)?);
            } else {
                // One message for `serde, version = 1`.
                if !(serde_reported && meta.path.is_ident("version")) {
                    errors.push(&meta.path, unknown_item_key(&meta.path));
                }
                serde_reported |= meta.path.is_ident("serde");
                skip_value(&meta)?;
            }
            Ok(())
        });
    }
    ItemAttributes { krate: krate.unwrap_or_else(|| syn::parse_quote!(::checkpoint)), bound }
}

fn predicates(text: &LitStr) -> syn::Result<Vec<WherePredicate>> {
    let parse = |input: syn::parse::ParseStream<'_>| {
        let list =
            input.parse_terminated(<WherePredicate as syn::parse::Parse>::parse, Token![,])?;
        Ok(list.into_iter().collect())
    };
    text.parse_with(parse).map_err(|err| {
        let message =
            format!("{err}; write predicates as in a where-clause, `bound = \"T: Trait\"`");
        syn::Error::new(text.span(), message)
    })
}

fn path(text: &LitStr) -> syn::Result<Path> {
    text.parse().map_err(|_| {
        syn::Error::new(
            text.span(),
            "write the path of the crate, such as `crate = \"checkpoint\"`",
        )
    })
}

fn unknown_item_key(path: &Path) -> String {
    let key = name(path);
    match key.as_str() {
        "serde" | "version" => {
            format!("`{key}` belongs on a field: write {SERDE_FORM} on each that needs it")
        }
        "transient" | "skip" => "to leave a field out, write `#[transient]` on it".to_owned(),
        _ => unknown(&key, &["crate", "bound"], "`crate = \"path\"` or `bound = \"T: Trait\"`"),
    }
}

/// Reads the attributes of an enum's variant: there are none.
pub(crate) fn variant(attributes: &[Attribute], errors: &mut Errors) {
    for attribute in attributes {
        if attribute.path().is_ident("transient") {
            errors.push(
                attribute.path(),
                "a variant is always stored, or it could not be restored; write \
                 `#[transient(default)]` on those of its fields that are not",
            );
        } else if attribute.path().is_ident("checkpoint") {
            errors.push(
                attribute.path(),
                "`#[checkpoint(…)]` belongs on the enum or on a field of the variant",
            );
        }
    }
}

/// Reads the attributes of a field.
pub(crate) fn field(attributes: &[Attribute], errors: &mut Errors) -> FieldAttributes {
    let mut transient: Option<Option<TransientDefault>> = None;
    let mut serde = SerdeKeys::default();
    for attribute in attributes {
        if attribute.path().is_ident("transient") {
            if transient.is_some() {
                errors.push(attribute.path(), "`#[transient]` twice on one field; write it once");
            }
            transient = Some(read_transient(attribute, errors));
        }
        each_key(attribute, errors, |meta, errors| serde.read(&meta, errors));
    }
    if let (Some(_), Some(key)) = (&transient, serde.first_key()) {
        errors.push(
            key,
            "a field is either stored through serde or not stored; remove \
             `#[checkpoint(serde, …)]` or `#[transient]`",
        );
        return FieldAttributes { storage: Storage::Transient(transient.flatten()) };
    }
    let storage = match transient {
        Some(default) => Storage::Transient(default),
        None => serde.storage(errors),
    };
    FieldAttributes { storage }
}

fn read_transient(attribute: &Attribute, errors: &mut Errors) -> Option<TransientDefault> {
    let mut default = None;
    let list = match &attribute.meta {
        Meta::Path(_) => return None,
        Meta::NameValue(meta) => {
            errors.push(
                meta,
                "write `#[transient(default = …)]` to say what a field that is made anew gets",
            );
            return None;
        }
        Meta::List(list) => list,
    };
    if list.tokens.is_empty() {
        errors.push(
            list,
            "write `#[transient]`, `#[transient(default)]` or `#[transient(default = …)]`",
        );
    }
    let result = attribute.parse_nested_meta(|meta| {
        if !meta.path.is_ident("default") {
            let key = name(&meta.path);
            errors.push(&meta.path, unknown(&key, &["default"], "`default` or `default = …`"));
            return skip_value(&meta);
        }
        once(&default, &meta, errors);
        default = Some(if meta.input.peek(Token![=]) {
            TransientDefault::Expression(Box::new(meta.value()?.parse()?))
        } else {
            TransientDefault::Trait(meta.path.span())
        });
        Ok(())
    });
    if let Err(err) = result {
        errors.push_syn(err);
    }
    default
}

/// The keys of `#[checkpoint(…)]` on a field.
#[derive(Default)]
struct SerdeKeys {
    serde: Option<Path>,
    version: Option<(Path, u32)>,
    /// After an unknown key, which may be a misspelt one, nothing is said to be missing.
    has_unknown: bool,
}

impl SerdeKeys {
    fn read(&mut self, meta: &ParseNestedMeta<'_>, errors: &mut Errors) -> syn::Result<()> {
        if meta.path.is_ident("serde") {
            once(&self.serde, meta, errors);
            self.serde = Some(meta.path.clone());
            if meta.input.peek(Token![=]) {
                errors.push(&meta.path, format!("`serde` takes no value; write {SERDE_FORM}"));
                skip_value(meta)?;
            }
        } else if meta.path.is_ident("version") {
            once(&self.version, meta, errors);
            self.version = Some((meta.path.clone(), version(meta, errors)?));
        } else {
            self.has_unknown = true;
            errors.push(&meta.path, unknown_field_key(&meta.path));
            skip_value(meta)?;
        }
        Ok(())
    }

    fn first_key(&self) -> Option<&Path> {
        self.serde.as_ref().or(self.version.as_ref().map(|(key, _)| key))
    }

    fn storage(self, errors: &mut Errors) -> Storage {
        match (self.serde, self.version) {
            (None, None) => Storage::Native,
            _ if self.has_unknown => Storage::Transient(None),
            (Some(_), Some((_, version))) => Storage::Serde { version },
            (Some(key), None) => {
                errors.push(
                    key,
                    format!(
                        "serde does not show what changes in a type, so the field needs a version \
                         that you raise then; write {SERDE_FORM}"
                    ),
                );
                Storage::Serde { version: 0 }
            }
            (None, Some((key, _))) => {
                errors.push(
                    key,
                    format!("a version is for fields stored through serde; write {SERDE_FORM}"),
                );
                Storage::Serde { version: 0 }
            }
        }
    }
}

fn version(meta: &ParseNestedMeta<'_>, errors: &mut Errors) -> syn::Result<u32> {
    let message = "a version is a number from 0 to 4294967295; write `version = 1`";
    if !meta.input.peek(Token![=]) {
        errors.push(&meta.path, message);
        return Ok(0);
    }
    let value: Expr = meta.value()?.parse()?;
    if let Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(number), .. }) = &value
        && let Some(version) = parse_version(number)
    {
        return Ok(version);
    }
    errors.push(value, message);
    Ok(0)
}

fn parse_version(number: &LitInt) -> Option<u32> {
    matches!(number.suffix(), "" | "u32").then(|| number.base10_parse().ok()).flatten()
}

fn unknown_field_key(path: &Path) -> String {
    let key = name(path);
    match key.as_str() {
        "skip" | "transient" | "ignore" => {
            "write `#[transient]` instead of `#[checkpoint(…)]` to leave the field out".to_owned()
        }
        "default" => "write `#[transient(default)]` for a field that is not stored; a field that \
                      is stored gets its stored value"
            .to_owned(),
        "crate" | "bound" => format!("`{key}` belongs on the type"),
        "with" => format!("a type that has only serde's traits is stored by {SERDE_FORM}"),
        _ => unknown(&key, &["serde", "version"], SERDE_FORM),
    }
}

/// Calls `read` for each key of `#[checkpoint(…)]`.
fn each_key(
    attribute: &Attribute,
    errors: &mut Errors,
    mut read: impl FnMut(ParseNestedMeta<'_>, &mut Errors) -> syn::Result<()>,
) {
    if !attribute.path().is_ident("checkpoint") {
        return;
    }
    if !matches!(&attribute.meta, Meta::List(list) if !list.tokens.is_empty()) {
        errors.push(
            &attribute.meta,
            "`checkpoint` says nothing without keys, such as \
             `#[checkpoint(serde, version = 1)]`; remove it",
        );
        return;
    }
    if let Err(err) = attribute.parse_nested_meta(|meta| read(meta, errors)) {
        errors.push_syn(err);
    }
}

fn once<T>(known: &Option<T>, meta: &ParseNestedMeta<'_>, errors: &mut Errors) {
    if known.is_some() {
        let key = name(&meta.path);
        errors.push(&meta.path, format!("`{key}` is given twice; remove one"));
    }
}

fn string(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    let key = name(&meta.path);
    let message = format!("write `{key} = \"…\"`, with a text in quotes");
    if !meta.input.peek(Token![=]) {
        return Err(syn::Error::new_spanned(&meta.path, message));
    }
    let value: Expr = meta.value()?.parse()?;
    match value {
        Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Ok(text),
        other => Err(syn::Error::new_spanned(other, message)),
    }
}

/// Passes over the value of a key that was reported, so that the next keys are read too.
fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        content.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}

fn name(path: &Path) -> String {
    let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    names.join("::")
}

fn unknown(key: &str, known: &[&str], form: &str) -> String {
    let nearest = known.iter().min_by_key(|known| distance(key, known));
    match nearest {
        Some(nearest) if distance(key, nearest) <= 2 => {
            format!("unknown key `{key}`; did you mean `{nearest}`?")
        }
        _ => format!("unknown key `{key}`; expected {form}"),
    }
}

/// How many characters must be inserted, removed or replaced to make one text of the other.
fn distance(left: &str, right: &str) -> usize {
    let first: Vec<usize> = (0..=right.chars().count()).collect();
    let last = left.chars().zip(1..).fold(first, |above, (left, row)| {
        let mut cells = vec![row];
        for (pair, right) in above.windows(2).zip(right.chars()) {
            let [diagonal, above] = *pair else { continue };
            let before = cells.last().copied().unwrap_or_default();
            let replaced = diagonal + usize::from(left != right);
            cells.push(replaced.min(above + 1).min(before + 1));
        }
        cells
    });
    last.last().copied().unwrap_or_default()
}
