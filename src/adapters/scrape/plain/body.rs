//! What may stand in `body`, and after it.

use html5ever::ns;

use super::name::{Kind, Name};
use super::token::{Tag, Token};
use super::{Builder, Mode, NotPlain};

impl Builder<'_> {
    pub(super) fn in_body(&mut self, token: Token) -> Result<(), NotPlain> {
        match self.top().kind {
            Kind::Table | Kind::Section | Kind::Row | Kind::Columns => return self.in_table(token),
            Kind::Drawing | Kind::Described => return self.in_drawing(token),
            _ => {}
        }
        match token {
            Token::Text(text) => self.text(text),
            Token::Comment(comment) => self.comment(comment),
            Token::Start(tag) => self.start(tag),
            Token::End(name) => self.end(&name),
            Token::Doctype | Token::Eof => Err(NotPlain),
        }
    }

    fn start(&mut self, tag: Tag) -> Result<(), NotPlain> {
        match tag.name.kind {
            Kind::Other | Kind::Format => self.open_element(tag),
            Kind::Anchor => {
                // One in a cell does not see one around the table, which is rare enough.
                if self.count.anchors > 0 {
                    return Err(NotPlain);
                }
                self.open_element(tag)
            }
            Kind::Block | Kind::Div | Kind::Paragraph => {
                self.close_paragraph()?;
                self.open_element(tag)
            }
            Kind::Heading => {
                self.close_paragraph()?;
                if self.top().kind == Kind::Heading {
                    return Err(NotPlain);
                }
                self.open_element(tag)
            }
            Kind::Preformatted => {
                self.close_paragraph()?;
                self.open_element(tag)?;
                self.tokens.skip_line_feed()
            }
            Kind::Void | Kind::Parameter | Kind::Meta => {
                self.leaf(&tag.name.local, ns!(html), tag.attributes);
                Ok(())
            }
            Kind::Rule => {
                self.close_paragraph()?;
                self.leaf_outside_select(tag)
            }
            Kind::Input => self.leaf_outside_select(tag),
            Kind::Raw | Kind::Script | Kind::Title | Kind::Textarea => self.with_content(tag),
            Kind::ListItem => self.start_item(tag, |kind| kind == Kind::ListItem),
            Kind::Definition => self.start_item(tag, |kind| kind == Kind::Definition),
            Kind::Table => {
                if self.count.selects > 0 {
                    return Err(NotPlain);
                }
                // Old pages have tables within paragraphs.
                if self.tree.quirks_mode != html5ever::tree_builder::QuirksMode::Quirks {
                    self.close_paragraph()?;
                }
                self.open_element(tag)
            }
            Kind::Cell | Kind::Row | Kind::Section | Kind::Caption | Kind::Columns | Kind::Column => {
                self.close_cell()?;
                self.in_table(Token::Start(tag))
            }
            Kind::Form if self.count.forms == 0 => {
                self.close_paragraph()?;
                self.open_element(tag)
            }
            Kind::Button if self.count.buttons == 0 => self.open_element(tag),
            Kind::Select if self.count.selects == 0 => self.open_element(tag),
            Kind::Option | Kind::OptionGroup => self.start_option(tag),
            Kind::Svg => self.start_drawing(tag),
            Kind::Form | Kind::Button | Kind::Select | Kind::Html | Kind::Head | Kind::Body | Kind::Unknown => {
                Err(NotPlain)
            }
            Kind::Drawing | Kind::Described => unreachable!("invariant: no name has this kind"),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "an arm among others that may find the page not plain")]
    fn open_element(&mut self, tag: Tag) -> Result<(), NotPlain> {
        self.insert(tag.name, tag.attributes);
        Ok(())
    }

    fn leaf_outside_select(&mut self, tag: Tag) -> Result<(), NotPlain> {
        if self.count.selects > 0 {
            return Err(NotPlain);
        }
        self.leaf(&tag.name.local, ns!(html), tag.attributes);
        Ok(())
    }

    /// Closes a paragraph that is open, as the beginning of a block does.
    fn close_paragraph(&mut self) -> Result<(), NotPlain> {
        if self.count.paragraphs == 0 {
            return Ok(());
        }
        let found = self.open.iter().rposition(|open| open.kind == Kind::Paragraph || open.kind.bounds_paragraph());
        match found {
            Some(index) if self.open[index].kind == Kind::Paragraph => self.close_from(index),
            _ => Ok(()),
        }
    }

    /// An item of a list ends the one before.
    fn start_item(&mut self, tag: Tag, is_item: impl Fn(Kind) -> bool) -> Result<(), NotPlain> {
        let stops = |index: &usize| {
            let open = &self.open[*index];
            is_item(open.kind) || open.kind.bounds_item()
        };
        if let Some(index) = (0..self.open.len()).rev().find(stops)
            && is_item(self.open[index].kind)
        {
            self.close_implied(index)?;
        } else if self.open.iter().any(|open| matches!(&*open.local, "dialog" | "search")) {
            return Err(NotPlain);
        }
        self.close_paragraph()?;
        self.open_element(tag)
    }

    fn start_option(&mut self, tag: Tag) -> Result<(), NotPlain> {
        let is_group = tag.name.kind == Kind::OptionGroup;
        if self.count.selects > 0 {
            while match self.top().kind {
                Kind::OptionGroup => is_group,
                kind => kind.ends_by_itself(),
            } {
                self.pop();
            }
        } else if self.top().kind == Kind::Option {
            self.pop();
        }
        self.open_element(tag)
    }

    /// Closes the element with this index, around which only such are open as end by themselves.
    fn close_implied(&mut self, index: usize) -> Result<(), NotPlain> {
        if self.open[index + 1..].iter().all(|open| open.kind.ends_by_itself()) {
            self.close_from(index)
        } else {
            Err(NotPlain)
        }
    }

    /// The cell that is open ends where another, or its row, begins or ends.
    pub(super) fn close_cell(&mut self) -> Result<(), NotPlain> {
        let found = self.open.iter().rposition(|open| !open.kind.ends_by_itself());
        match found {
            Some(index) if self.open[index].kind == Kind::Cell => self.close_from(index),
            _ => Err(NotPlain),
        }
    }

    fn end(&mut self, name: &Name) -> Result<(), NotPlain> {
        match name.kind {
            Kind::Other | Kind::Format | Kind::Anchor => self.end_here(name),
            Kind::Block
            | Kind::Div
            | Kind::Heading
            | Kind::Preformatted
            | Kind::Form
            | Kind::Button
            | Kind::Select
            | Kind::Cell
            | Kind::Caption
            | Kind::ListItem
            | Kind::Definition
            | Kind::Paragraph => self.end_implied(name),
            Kind::Option | Kind::OptionGroup => {
                if name.kind == Kind::OptionGroup && self.top().kind == Kind::Option {
                    self.pop();
                }
                self.end_here(name)
            }
            Kind::Row | Kind::Section | Kind::Table => {
                self.close_cell()?;
                self.in_table(Token::End(name.clone()))
            }
            Kind::Body | Kind::Html => self.end_body(name.kind),
            // They have no end, and one that is written all the same is left out, but for that of `br`.
            Kind::Void if &*name.local != "br" => Ok(()),
            Kind::Input | Kind::Rule | Kind::Meta | Kind::Parameter => Ok(()),
            _ => Err(NotPlain),
        }
    }

    fn end_here(&mut self, name: &Name) -> Result<(), NotPlain> {
        let top = self.top();
        if top.local != name.local || top.kind != name.kind {
            return Err(NotPlain);
        }
        self.pop();
        Ok(())
    }

    fn end_implied(&mut self, name: &Name) -> Result<(), NotPlain> {
        let is_it = |open: &super::Open| open.local == name.local && open.kind == name.kind;
        let found = self.open.iter().rposition(|open| is_it(open) || !open.kind.ends_by_itself());
        let index = found.filter(|index| is_it(&self.open[*index])).ok_or(NotPlain)?;
        self.close_from(index)
    }

    fn end_body(&mut self, kind: Kind) -> Result<(), NotPlain> {
        if self.count.tables + self.count.selects + self.count.drawings > 0 {
            return Err(NotPlain);
        }
        self.mode = if kind == Kind::Body { Mode::AfterBody } else { Mode::AfterHtml };
        Ok(())
    }

    pub(super) fn after_body(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) if text.is_blank => self.text(text),
            Token::Comment(comment) => {
                // It goes below `html`, beside `body`.
                let top = self.open.split_off(1);
                let done = self.comment(comment);
                self.open.extend(top);
                done
            }
            Token::End(name) if name.kind == Kind::Html => {
                self.mode = Mode::AfterHtml;
                Ok(())
            }
            token => self.again_in_body(token),
        }
    }

    pub(super) fn after_html(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) if text.is_blank => self.text(text),
            Token::Comment(comment) => self.comment_of_document(comment),
            token => self.again_in_body(token),
        }
    }

    fn again_in_body(&mut self, token: Token) -> Result<(), NotPlain> {
        self.mode = Mode::Body;
        self.in_body(token)
    }
}
