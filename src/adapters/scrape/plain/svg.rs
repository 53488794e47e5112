//! SVG within a page: names that HTML writes in small letters and SVG does not (WHATWG HTML, 13.2.6.5).

use html5ever::{Attribute, LocalName, QualName, namespace_prefix, ns};

use super::name::{Kind, Name};
use super::token::{Tag, Token};
use super::{Builder, NotPlain};

impl Builder<'_> {
    pub(super) fn start_drawing(&mut self, tag: Tag) -> Result<(), NotPlain> {
        let local = tag.name.local.clone();
        self.draw(local, Kind::Drawing, tag)
    }

    #[expect(clippy::unnecessary_wraps, reason = "an arm among others that may find the page not plain")]
    fn draw(&mut self, local: LocalName, kind: Kind, mut tag: Tag) -> Result<(), NotPlain> {
        tag.attributes.iter_mut().for_each(adjust);
        let id = self.leaf(&local, ns!(svg), tag.attributes);
        if !tag.is_self_closing {
            self.count.change(kind, 1);
            self.open.push(super::Open { id, local, kind });
        }
        Ok(())
    }

    /// A token where an element of SVG is open.
    pub(super) fn in_drawing(&mut self, token: Token) -> Result<(), NotPlain> {
        match token {
            Token::Text(text) => self.text(text),
            Token::Comment(comment) => self.comment(comment),
            Token::Start(tag) if self.top().kind == Kind::Drawing => self.start_in_drawing(tag),
            Token::End(name) => self.end_in_drawing(&name),
            Token::Start(_) | Token::Doctype | Token::Eof => Err(NotPlain),
        }
    }

    fn start_in_drawing(&mut self, tag: Tag) -> Result<(), NotPlain> {
        let (local, kind) = match &*tag.name.local {
            "desc" | "title" => (tag.name.local.clone(), Kind::Described),
            "foreignobject" => (LocalName::from("foreignObject"), Kind::Described),
            "lineargradient" => (LocalName::from("linearGradient"), Kind::Drawing),
            "radialgradient" => (LocalName::from("radialGradient"), Kind::Drawing),
            "clippath" => (LocalName::from("clipPath"), Kind::Drawing),
            "textpath" => (LocalName::from("textPath"), Kind::Drawing),
            name if is_drawing(name) => (tag.name.local.clone(), Kind::Drawing),
            _ => return Err(NotPlain),
        };
        self.draw(local, kind, tag)
    }

    fn end_in_drawing(&mut self, name: &Name) -> Result<(), NotPlain> {
        if name.kind == Kind::Paragraph || &*name.local == "br" || !self.top().local.eq_ignore_ascii_case(&name.local) {
            return Err(NotPlain);
        }
        self.pop();
        Ok(())
    }
}

/// The elements of SVG that pages have, and whose names have small letters alone. Many others end the drawing.
fn is_drawing(name: &str) -> bool {
    matches!(
        name,
        "a" | "animate"
            | "circle"
            | "defs"
            | "ellipse"
            | "filter"
            | "g"
            | "line"
            | "marker"
            | "mask"
            | "metadata"
            | "path"
            | "pattern"
            | "polygon"
            | "polyline"
            | "rect"
            | "set"
            | "stop"
            | "style"
            | "svg"
            | "switch"
            | "symbol"
            | "text"
            | "tspan"
            | "use"
            | "view"
    )
}

/// Gives an attribute the name that it has in SVG.
fn adjust(attribute: &mut Attribute) {
    let (prefix, local) = match attribute.name.local.split_once(':') {
        Some((prefix @ ("xlink" | "xml" | "xmlns"), local)) => (prefix, local),
        None if &*attribute.name.local == "xmlns" => ("", "xmlns"),
        _ => {
            if let Some(local) = capitals(&attribute.name.local) {
                attribute.name.local = LocalName::from(local);
            }
            return;
        }
    };
    let (prefix, namespace) = match (prefix, local) {
        ("xlink", "actuate" | "arcrole" | "href" | "role" | "show" | "title" | "type") => {
            (namespace_prefix!("xlink"), ns!(xlink))
        }
        ("xml", "lang" | "space") => (namespace_prefix!("xml"), ns!(xml)),
        ("xmlns", "xlink") => (namespace_prefix!("xmlns"), ns!(xmlns)),
        ("", _) => (namespace_prefix!(""), ns!(xmlns)),
        _ => return,
    };
    attribute.name = QualName::new(Some(prefix), namespace, LocalName::from(local));
}

/// An attribute's name in SVG, where that has capitals.
fn capitals(name: &str) -> Option<&'static str> {
    Some(match name {
        "attributename" => "attributeName",
        "attributetype" => "attributeType",
        "basefrequency" => "baseFrequency",
        "baseprofile" => "baseProfile",
        "calcmode" => "calcMode",
        "clippathunits" => "clipPathUnits",
        "diffuseconstant" => "diffuseConstant",
        "edgemode" => "edgeMode",
        "filterunits" => "filterUnits",
        "glyphref" => "glyphRef",
        "gradienttransform" => "gradientTransform",
        "gradientunits" => "gradientUnits",
        "kernelmatrix" => "kernelMatrix",
        "kernelunitlength" => "kernelUnitLength",
        "keypoints" => "keyPoints",
        "keysplines" => "keySplines",
        "keytimes" => "keyTimes",
        "lengthadjust" => "lengthAdjust",
        "limitingconeangle" => "limitingConeAngle",
        "markerheight" => "markerHeight",
        "markerunits" => "markerUnits",
        "markerwidth" => "markerWidth",
        "maskcontentunits" => "maskContentUnits",
        "maskunits" => "maskUnits",
        "numoctaves" => "numOctaves",
        "pathlength" => "pathLength",
        "patterncontentunits" => "patternContentUnits",
        "patterntransform" => "patternTransform",
        "patternunits" => "patternUnits",
        "pointsatx" => "pointsAtX",
        "pointsaty" => "pointsAtY",
        "pointsatz" => "pointsAtZ",
        "preservealpha" => "preserveAlpha",
        "preserveaspectratio" => "preserveAspectRatio",
        "primitiveunits" => "primitiveUnits",
        "refx" => "refX",
        "refy" => "refY",
        "repeatcount" => "repeatCount",
        "repeatdur" => "repeatDur",
        "requiredextensions" => "requiredExtensions",
        "requiredfeatures" => "requiredFeatures",
        "specularconstant" => "specularConstant",
        "specularexponent" => "specularExponent",
        "spreadmethod" => "spreadMethod",
        "startoffset" => "startOffset",
        "stddeviation" => "stdDeviation",
        "stitchtiles" => "stitchTiles",
        "surfacescale" => "surfaceScale",
        "systemlanguage" => "systemLanguage",
        "tablevalues" => "tableValues",
        "targetx" => "targetX",
        "targety" => "targetY",
        "textlength" => "textLength",
        "viewbox" => "viewBox",
        "viewtarget" => "viewTarget",
        "xchannelselector" => "xChannelSelector",
        "ychannelselector" => "yChannelSelector",
        "zoomandpan" => "zoomAndPan",
        _ => return None,
    })
}
