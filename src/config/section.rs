//! Sections: what the directives of a block are called, what they mean, how they are read.

use super::{Error, Notice, tree::Directive};
use crate::limits;

/// One directive of a section, as it was declared.
#[derive(Debug)]
pub(super) struct Field {
    /// The name of the directive.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) doc: &'static str,
    /// The part of the image it needs, `a|b` for one of two, empty for none.
    pub(super) needs: &'static str,
    /// The smallest and the largest number it may have.
    pub(super) range: Option<&'static (f64, f64)>,
    /// What the reference shows where the default would not do.
    pub(super) sample: &'static str,
}

/// The kind of block that a section is read from.
#[derive(Debug)]
pub(super) struct Block {
    /// The name of the block; empty for the file itself.
    pub(super) name: &'static str,
    /// What it is for.
    pub(super) about: &'static str,
    /// The part of the image it needs, as in [`Field`].
    pub(super) needs: &'static str,
    /// Whether an unknown directive is a warning; else it is an error.
    pub(super) free: bool,
    /// The directives.
    pub(super) fields: &'static [Field],
}

/// What a file gives a value to. The value holds the default before [`set`](Self::set).
pub(super) trait Value {
    /// The type, as the reference prints it.
    fn kind(&self) -> String;
    /// Takes the value that `directive` gives.
    fn set(
        &mut self,
        directive: &Directive,
        field: &Field,
        reader: &mut Reader,
    ) -> Result<(), Error>;
    /// The value as a file would say it; empty when there is none.
    fn text(&self) -> String;
    /// Whether the directive may be given many times. Else the first one counts.
    fn many(&self) -> bool {
        false
    }
    /// Whether a directive with this value asks for something to be done.
    fn used(&self) -> bool {
        true
    }
    /// The sections in it, when the value is a section or a list of them.
    fn sections(&self) -> Vec<&dyn Section> {
        Vec::new()
    }
    /// A section of defaults, when the value is a section or a list of them.
    fn section(&self) -> Option<Box<dyn Section>> {
        None
    }
}

/// A struct made by [`section!`].
pub(super) trait Section {
    /// The declaration.
    fn block(&self) -> &'static Block;
    /// The values of its directives, in the order of [`Block::fields`].
    fn values(&self) -> Vec<&dyn Value>;
    /// Takes the value that `directive` gives to the field at `at`.
    fn set(
        &mut self,
        at: usize,
        directive: &Directive,
        field: &Field,
        reader: &mut Reader,
    ) -> Result<(), Error>;
    /// Takes the word behind the name of the block.
    fn set_arg(&mut self, _arg: &str) {}
}

/// A directive that asks for a part of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) needs: &'static str,
    pub(super) name: String,
    pub(super) line: u32,
}

/// What is found out beside the values while a file is read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) warnings: Vec<Notice>,
    pub(super) used: Vec<Used>,
}

impl Reader {
    /// Adds a warning, up to [`limits::CONF_WARNINGS`].
    pub(super) fn warn(&mut self, directive: &Directive, text: impl Into<String>) {
        if self.warnings.len() < limits::CONF_WARNINGS {
            let text = format!("{}: {}", directive.written(), text.into());
            self.warnings.push(Notice { line: directive.line, text });
        }
    }

    /// The only argument of `directive`; `None`, after a warning, when it has none.
    pub(super) fn one<'d>(
        &mut self,
        directive: &'d Directive,
        default: &str,
    ) -> Result<Option<&'d str>, Error> {
        if directive.block {
            return Err(wrong(directive, "takes a value, not a block"));
        }
        if let Some(extra) = directive.args.get(1) {
            let text = format!("takes one value, `{extra}` is ignored; is a ; missing before it?");
            self.warn(directive, text);
        }
        let first = directive.args.first().map(String::as_str);
        if first.is_none() && !default.is_empty() {
            self.warn(directive, format!("no value, the default counts: {default}"));
        }
        Ok(first)
    }
}

/// Reads the children of `directive` into `section`.
pub(super) fn fill(
    section: &mut dyn Section,
    directive: &Directive,
    reader: &mut Reader,
) -> Result<(), Error> {
    let block = section.block();
    if !directive.block {
        return Err(wrong(directive, "takes a block { }"));
    }
    section.set_arg(directive.arg());
    let outside = reader.used.len();
    let mut seen: Vec<(&str, u32)> = Vec::new();
    let many: Vec<_> = section.values().into_iter().map(Value::many).collect();
    let used = |section: &dyn Section, at| {
        section.values().get(at).is_some_and(|value: &&dyn Value| value.used())
    };
    for child in &directive.children {
        let mut fields = block.fields.iter().zip(&many).enumerate();
        let Some((at, (field, many))) = fields.find(|(_, (f, _))| f.name == child.name) else {
            let place = if block.name.is_empty() { "the file" } else { block.name };
            let text = format!("no directive of {place} is called so");
            if block.free {
                reader.warn(child, text);
                continue;
            }
            return Err(wrong(child, text));
        };
        if !many {
            if let Some((_, line)) = seen.iter().find(|(name, _)| *name == field.name) {
                reader.warn(child, format!("ignored, line {line} gave it already"));
                continue;
            }
            seen.push((field.name, child.line));
        }
        section.set(at, child, field, reader)?;
        if !field.needs.is_empty() && used(section, at) {
            let name = child.written().to_owned();
            reader.used.push(Used { needs: field.needs, name, line: child.line });
        }
    }
    let has_switch = block.fields.first().is_some_and(|field| SWITCHES.contains(&field.name));
    if has_switch && !used(section, 0) {
        reader.used.truncate(outside);
    } else if !block.needs.is_empty() {
        // A block can be made of old names, so what switches it says more than what it is called.
        let mode = directive.children.iter().find(|child| child.name == "mode");
        let (name, line) = match mode {
            Some(mode) => (format!("mode {}", mode.arg()), mode.line),
            None => (directive.written().to_owned(), directive.line),
        };
        reader.used.push(Used { needs: block.needs, name, line });
    }
    Ok(())
}

/// The error that `directive` is wrong.
pub(super) fn wrong(directive: &Directive, text: impl AsRef<str>) -> Error {
    Error::new(directive.line, format!("{}: {}", directive.written(), text.as_ref()))
}

/// The first directive of a section, where it says whether the section is used at all.
const SWITCHES: &[&str] = &["enabled", "mode"];

/// Declares a section. One declaration per directive gives the field, its default, its
/// documentation and its reader:
///
/// ```text
/// section! {
///     /// What the block is for.
///     Name ("block name", needs "part", arg field; free) {
///         /// What the directive does.
///         field needs "part" as "directive": Type [low..=high] = default => "sample";
///     }
/// }
/// ```
///
/// `needs`, `arg` (the field for the word behind the block's name), `free` (unknown directives
/// are a warning), `as`, the range and the sample may be left out.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident (
            $block:literal $(, needs $part:literal)? $(, arg $arg:ident)? $(; $free:ident)?
        ) {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(needs $needs:literal)? $(as $word:literal)? : $ty:ty
                $([$low:literal ..= $high:literal])? = $default:expr $(=> $sample:literal)?;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                /// The word behind the name of the block; empty when there is none.
                pub $arg: String,
            )?
            $($(#[doc = $doc])+ pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($arg: String::new(),)? $($field: $default,)* }
            }
        }

        impl $crate::config::section::Section for $name {
            fn block(&self) -> &'static $crate::config::section::Block {
                use $crate::config::section::{Block, Field};
                const BLOCK: Block = Block {
                    name: $block,
                    about: concat!($($about, "\n"),+),
                    needs: concat!($($part)?),
                    free: section!(@is $($free)?),
                    fields: &[$(Field {
                        name: section!(@name $field $($word)?),
                        doc: if crate::limits::REFERENCE { concat!($($doc, "\n"),+) } else { "" },
                        needs: concat!($($needs)?),
                        range: section!(@range $($low $high)?),
                        sample: concat!($($sample)?),
                    }),*],
                };
                &BLOCK
            }

            fn values(&self) -> Vec<&dyn $crate::config::section::Value> {
                vec![$(&self.$field),*]
            }

            fn set(
                &mut self,
                at: usize,
                directive: &$crate::config::tree::Directive,
                field: &$crate::config::section::Field,
                reader: &mut $crate::config::section::Reader,
            ) -> Result<(), $crate::config::Error> {
                let mut values = [$(&mut self.$field as &mut dyn $crate::config::section::Value),*];
                values.get_mut(at).map_or(Ok(()), |value| value.set(directive, field, reader))
            }

            $(
                fn set_arg(&mut self, arg: &str) {
                    self.$arg = arg.to_owned();
                }
            )?
        }
    };
    (@is) => { false };
    (@is free) => { true };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $word:literal) => { $word };
    (@range) => { None };
    (@range $low:literal $high:literal) => { Some(&($low as f64, $high as f64)) };
}

pub(super) use section;
