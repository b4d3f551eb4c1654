//! The parsed type, with the meaning of its attributes.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Expr, Generics, Ident, Member, Path, Type, WherePredicate};

use crate::attr::{self, FieldAttributes, ItemAttributes};
use crate::errors::Errors;
use crate::tokens;

/// A struct or an enum.
pub(crate) struct Item {
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    /// The path of the crate `checkpoint`.
    pub(crate) krate: Path,
    /// Bounds that replace the inferred ones.
    pub(crate) bound: Option<Vec<WherePredicate>>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

pub(crate) struct Variant {
    pub(crate) ident: Ident,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) member: Member,
    /// Its local variable in generated code.
    pub(crate) variable: Ident,
    /// Its name in schemas and errors.
    pub(crate) name: String,
    /// Its type, without `Self`, all at the place of the first token: several complaints about it
    /// at one place are shown as one.
    pub(crate) ty: Type,
    /// Where to point at when its type is at fault.
    pub(crate) span: Span,
    pub(crate) storage: Storage,
}

pub(crate) enum Storage {
    Native,
    Serde { version: u32 },
    Transient(Option<TransientDefault>),
}

/// What a transient field gets when its owner is made anew.
pub(crate) enum TransientDefault {
    /// `Default::default()`, asked for at this place.
    Trait(Span),
    Expression(Box<Expr>),
}

impl Item {
    pub(crate) fn parse(input: &DeriveInput, errors: &mut Errors) -> Self {
        let ItemAttributes { krate, bound } = attr::item(&input.attrs, errors);
        let fields = |fields: &syn::Fields, errors: &mut Errors| -> Vec<Field> {
            let parse = |(index, field)| Field::parse(index, field, input, errors);
            fields.iter().enumerate().map(parse).collect()
        };
        let body = match &input.data {
            Data::Struct(data) => Body::Struct(fields(&data.fields, errors)),
            Data::Enum(data) => Body::Enum(
                data.variants
                    .iter()
                    .map(|variant| {
                        attr::variant(&variant.attrs, errors);
                        let fields = fields(&variant.fields, errors);
                        Variant { ident: variant.ident.clone(), fields }
                    })
                    .collect(),
            ),
            Data::Union(data) => {
                errors.push(
                    data.union_token,
                    "a union cannot be stored, since nothing tells which of its fields is valid; \
                     make it an enum",
                );
                Body::Struct(Vec::new())
            }
        };
        let name = input.ident.clone();
        Self { name, generics: input.generics.clone(), krate, bound, body }
    }

    /// All fields, whatever their variant.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        let (fields, variants) = match &self.body {
            Body::Struct(fields) => (fields.as_slice(), [].as_slice()),
            Body::Enum(variants) => ([].as_slice(), variants.as_slice()),
        };
        fields.iter().chain(variants.iter().flat_map(|variant| &variant.fields))
    }

    /// Whether a value can be made from stored fields alone, as far as the type itself is
    /// concerned.
    pub(crate) fn is_rebuildable(&self) -> bool {
        self.fields().all(|field| !matches!(field.storage, Storage::Transient(None)))
    }
}

impl Field {
    fn parse(index: usize, field: &syn::Field, input: &DeriveInput, errors: &mut Errors) -> Self {
        let FieldAttributes { storage } = attr::field(&field.attrs, errors);
        let span = tokens::first_span(&field.ty);
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(syn::Index { index: to_u32(index), span: field.ty.span() }),
        };
        let name = match &field.ident {
            Some(ident) => ident.unraw().to_string(),
            None => index.to_string(),
        };
        let variable = Ident::new(&format!("__field_{index}"), span);
        let ty = tokens::without_self(&field.ty, &input.ident, &input.generics);
        let ty = tokens::at_one_place(&ty, span);
        Self { member, variable, name, ty, span, storage }
    }

    pub(crate) fn is_stored(&self) -> bool {
        !matches!(self.storage, Storage::Transient(_))
    }
}

fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_else(|_| unreachable!("no type has 2^32 fields"))
}
