//! Tables, but for what stands in their cells.

use html5ever::{local_name, ns};

use super::name::{Kind, Name};
use super::token::{Tag, Token};
use super::{Builder, NotPlain};

impl Builder<'_> {
    /// A token where a table, a part of one, a row or a group of columns is open.
    pub(super) fn in_table(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            // Other text would go before the table.
            Token::Text(text) if text.is_blank => self.text(text),
            Token::Comment(comment) => self.comment(comment),
            Token::Start(tag) => self.start_in_table(tag),
            Token::End(name) => self.end_in_table(&name),
            Token::Text(_) | Token::Doctype | Token::Eof => Err(NotPlain),
        }
    }

    fn start_in_table(&mut self, tag: Tag) -> Result<(), NotPlain> {
        let outer = self.top().kind;
        let kind = tag.name.kind;
        match (outer, kind) {
            (Kind::Columns, Kind::Column) => {
                self.leaf(&tag.name.local, ns!(html), tag.attributes);
                Ok(())
            }
            (Kind::Row, Kind::Cell)
            | (Kind::Section, Kind::Row)
            | (Kind::Table, Kind::Section | Kind::Caption | Kind::Columns) => {
                self.insert(tag.name, tag.attributes);
                Ok(())
            }
            (Kind::Section, Kind::Cell) => {
                self.insert(Name { local: local_name!("tr"), kind: Kind::Row }, Vec::new());
                self.start_in_table(tag)
            }
            (Kind::Table, Kind::Row | Kind::Cell) => {
                self.insert(Name { local: local_name!("tbody"), kind: Kind::Section }, Vec::new());
                self.start_in_table(tag)
            }
            (Kind::Table, Kind::Column) => {
                self.insert(Name { local: local_name!("colgroup"), kind: Kind::Columns }, Vec::new());
                self.start_in_table(tag)
            }
            (Kind::Columns, _)
            | (Kind::Row, Kind::Row | Kind::Section | Kind::Caption | Kind::Columns | Kind::Column)
            | (Kind::Section, Kind::Section | Kind::Caption | Kind::Columns | Kind::Column) => {
                self.pop();
                self.start_in_table(tag)
            }
            (_, Kind::Script) => self.with_content(tag),
            (_, Kind::Raw) if &*tag.name.local == "style" => self.with_content(tag),
            (_, Kind::Input) if is_hidden(&tag) => {
                self.leaf(&tag.name.local, ns!(html), tag.attributes);
                Ok(())
            }
            _ => Err(NotPlain),
        }
    }

    fn end_in_table(&mut self, name: &Name) -> Result<(), NotPlain> {
        let outer = self.top().kind;
        match (outer, name.kind) {
            (Kind::Table, Kind::Table) | (Kind::Row, Kind::Row) | (Kind::Columns, Kind::Columns) => {
                self.pop();
                Ok(())
            }
            (Kind::Section, Kind::Section) if self.top().local == name.local => {
                self.pop();
                Ok(())
            }
            (Kind::Row, Kind::Section) => {
                // Where it is the end of another part, it is left out.
                let section = &self.open[self.open.len() - 2];
                if section.kind != Kind::Section || section.local != name.local {
                    return Err(NotPlain);
                }
                self.pop();
                self.end_in_table(name)
            }
            (Kind::Row | Kind::Section | Kind::Columns, Kind::Table) => {
                self.pop();
                self.end_in_table(name)
            }
            _ => Err(NotPlain),
        }
    }
}

fn is_hidden(tag: &Tag) -> bool {
    let kind = tag.attributes.iter().find(|attribute| attribute.name.local == local_name!("type"));
    kind.is_some_and(|kind| kind.value.eq_ignore_ascii_case("hidden"))
}
