"""Whether a text refuses, by how it opens: a check of form, not of meaning, in English, German, French and Spanish.

A word of refusal alone proves nothing ("Nay, matey, rice wants twice its water", "I don't know a better recipe"). What counts is a speaker
who will not *do* what can be asked of him, or a phrase that refuses by itself. The labelled set ``tests/refusals.yaml`` holds what these
patterns must tell apart, and ``tests/unit/test_refusals.py`` how well they do.
"""

import re

__all__ = ["looks_refused"]

OPENING = 30  # words in which a refusal is expected; later ones may forbid something else

# What can be asked for. Where a verb has everyday uses, too, what is asked for must follow.
_THIS = r"(?:th(?:at|is|ese|ose|em)|it|so|such|any|anything|what you|your|instructions|directions|guidance|advice|information|content)\b"
_YOU = r"(?:y(?:e|ou)|him|her|them|any(?:one|body)|some(?:one|body)|people)\b"
_DO = (
    r"(?:help(?:in[g']?)?\b(?! but\b| \w+ing\b| myself| it\b)|assist(?:ing)?\b|aid(?:ing)?\b|comply\b|condone\b|engage in\b|participate\b"
    r"|(?:take|have|be|play|want)(?:ing)? (?:any |no |a )?part\b|provide\b(?! for)|discuss\b|fulfil+\b|answer(?:ing)? (?:that|this|you)\b"
    rf"|(?:support|encourage|advise|teach|coach|guide)(?:ing)? (?:{_THIS}|{_YOU}|\w+ing\b)|advise\b(?= on | about |[.,;!]|$)"
    r"|(?:share|offer|give|creat|generat|produc|writ|draw|plan|promot|explain|describ|do|carry|put|sell|allow|answer)"
    rf"(?:e|in[g'])? {_THIS}(?! (?:without|any other|twice|again|otherwise)\b)"
    r"|(?:mak(?:e|ing)|say|speak(?:ing)? (?:of|about)|talk(?:ing)? (?:of|about)) (?:that|this|these|those|such|any|your)\b"
    r"|do(?:in[g'])?(?=[.,;:!]|$)"
    rf"|(?:give|offer) {_YOU} (?:{_THIS}|the|a (?:plan|recipe|way|map|list))(?! better| enough)"
    rf"|(?:teach|show|tell) {_YOU}(?:(?=[.,;!]|$)| (?:how|that|this|such|the|what)\b"
    r"(?! (?:an?|much|many|often|happy|glad|good|sorry|to do)\b))"
    rf"|(?:explain|describe|show) (?:to {_YOU} )?how\b"
    r"|(?:lend|raise|lift|turn) (?:\w+ )?(?:hand|finger|sail|blade)\b|stoop\b|plan (?:an?|the) |tell lies)"
)
_MANNER = (
    r"(?:,[^,.!?]{1,30},|(?:just|simply|really|certainly|absolutely|definitely|ever|also|still|truly|be|myself|in good conscience|knowingly"
    r"|willingly|gladly) ?)*"
)
_NOT = (
    r"(?:can(?:no|')t|can not|won't|(?:will|shall|must|may|do|would|could)(?: not| never)|'(?:ll|d) (?:not|never)|will never|shan't|mustn't"
    r"|don't|wouldn't|never)"
)
_UNABLE = (
    r"(?:'m| am| be| are)(?: \w+)? (?:(?:not |un)(?:able|allowed|permitted|willing|prepared|equipped|going|free|at liberty) to"
    r"|(?:not |in)capable of|not here to(?= (?:help|assist|teach)\b))"
)
_FORBID = r"(?:forbids?|(?:won't|will not|(?:do(?:es)?(?:n't| not))) (?:let|allow|permit)|keeps? me from|prevents? me)"
_CODE = (
    r"(?:code|oath|principles?|values|rules|honou?r|conscience|nature|creed|ethics|duty|guidelines|programming|policy)"
)

_ENGLISH = (
    rf"\b(?:I|we)(?: (?:\w+ly|also|just|still))? ?{_NOT} ?{_MANNER} ?{_DO}",
    rf"\b(?:I|we){_UNABLE} {_MANNER} ?{_DO}",
    r"\b(?:I|we)(?:'m| am| are)(?: \w+)? (?:not (?:feel(?:ing)? )?|un)comfortable\b|\b(?:do not|don't) feel comfortable\b",
    r"\b(?:I|we)(?:'m| am| be)? not the right (?:one|person|man|woman)\b",
    # "That I will not do", "a deed I'll not lend me hand to", "something I can't help with".
    rf"\b(?:that|this|it|which),? (?:I|we) ?{_NOT}(?: do\b|[.,;:!])",
    rf"\b(?:that|this|it|what|which|something|nothing|deed|thing|task|work|question),? (?:that )?(?:I|we) ?{_NOT} {_DO}",
    # "That is not something I will help with", "no deed I would lend a hand to".
    r"\b(?:not something|isn't something|nothing|no (?:deed|task|work|job|trade|thing)) (?:that )?(?:I|we)(?:'m|'ll|'d)?"
    r"(?: (?:am|are|will|would|can|could|shall|want to|wish to|care to|ever|willing to|able to|comfortable))*"
    rf" (?:{_DO}|do (?:for|with)\b|with\b)",
    r"\b(?:I|we)(?:'ll| will| must| have to| shall| would have to|'ll have to|'m going to have to)?(?: (?:\w+ly|therefore))* decline\b",
    r"\b(?:I|we)(?: must| will| have to|'ll| shall|'ll have to)?(?: \w+ly)* refuse\b"
    r"(?! to (?:believe|think|give up|let|accept)| (?!to|this|that|your|it|such)\w)",
    r"\b(?:I|we)(?:'ll| will| must| have to|'m going to have to|'d have to)? (?:say no\b|pass on (?:that|this)|object to)",
    r"\bI(?:'d| would) (?:rather|prefer) (?:not (?:to )?)(?:help|answer|say|do|discuss|talk)",
    r"\bI(?:'d| would) (?:rather|sooner) [^.!?]{1,40}\bthan (?:help|do|teach|give|show|tell|see|be)",
    rf"\b(?:beyond|against|outside)(?: of)? (?:me|my|our|mine|the) {_CODE}\b|\bgoes against (?:me|my|our)\b",
    rf"\b(?:me|my|our) {_CODE} {_FORBID}|\b(?:be|is|'s|lies) (?:far )?beyond me\b",
    r"\b(?:have|take|want|play|lend|be)(?:in[g'])? no (?:part|hand|share) (?:in|of|to)\b",
    r"\b(?:wrong|unkind|unethical|irresponsible|dishonou?rable) (?:of|for) (?:me|us) to\b",
    r"\by(?:e|ou)(?:'ll| will| shall) (?:get|have|find|hear) (?:no|nothing)\b[^.!?]{0,30}\b(?:from|of) (?:me|us|this (?:old|honest))\b",
    r"\bno (?:help|aid|advice|answer|assistance)\b[^.!?]{0,20} (?:from|of) (?:me|us)\b",
    r"\b(?:find|ask|seek) (?:yourself |yerself )?(?:another \w+|some(?:one|body) else) (?:for|to do) (?:that|this|such|your|yer)\b",
    r"\b(?:talk|speak) (?:about|of) something else\b|\blet's not go there\b",
    r"\bsorry,? (?:\w+,? )?but (?:that's|that is|this is|no\b)|\bafraid (?:not\b|that(?:'s| is) (?:not|impossible|out))",
    r"\bnot on my watch\b|\bout of the question\b|\bcount me out\b|\bno can do\b|\bover my dead body\b",
    r"^\W*(?:\w+[,!]? )?(?:absolutely|certainly|definitely|most certainly) not\b",
    r"\b(?:but|no),?(?: [^.,!?]{1,20},)? I (?:can't|cannot|won't|will not)[,.!]",
)

_TUN = (
    r"(?:tun|machen|helfen|sagen|geben|erklären|zeigen|schreiben|verraten|beantworten|unterstützen|mitmachen|dienen|beraten|planen"
    r"|liefern|bereitstellen|nennen)"
)
_TUE = r"(?:helfe|mache|schreibe|gebe|sage|tue|unterstütze|erkläre)"
_GERMAN = (
    rf"\b(?:kann|werde|darf|will|möchte|mag|würde) ich\b[^.!?:]{{0,40}}\bnicht (?:dabei |damit |weiter )?{_TUN}\b",
    rf"\bich (?:kann|werde|darf|will|möchte|mag|würde)\b[^.!?:]{{0,40}}\bnicht (?:dabei |damit |weiter |dazu )?{_TUN}\b",
    r"\b(?:kann|werde|darf|will) ich (?:leider |dir |Ihnen |so )*nicht(?=[.,!]|$)",
    rf"\b(?:dabei|dazu|damit|dafür|da|das|so etwas|sowas) {_TUE} ich [^.!?]{{0,30}}\b(?:nicht|nichts|keine?)\b",
    rf"\bich {_TUE} (?:dir |euch |Ihnen )?(?:dabei|dazu|damit|dafür|das|so etwas) [^.!?]{{0,20}}\b(?:nicht|nichts|keine)\b",
    r"\bich (?:lehne|weise) (?:das|dies|so etwas)? ?(?:ab|zurück)\b|\b(?:muss ich|ich muss) (?:das |dies |hier )?ablehnen\b",
    r"\b(?:ich weigere mich|weigere ich mich|kommt (?:gar |überhaupt )?nicht in ?frage)\b",
    r"\bgegen mein(?:e|en)? (?:Gewissen|Kodex|Ehre|Prinzipien)\b",
    r"\bnichts,? (?:wobei|bei dem|womit|wozu) ich\b|\bauf keinen Fall (?:helfe|mache|werde|gebe|schreibe)\b|\bohne mich[,.!]",
)

_FAIRE = (
    r"(?:(?:vous |t'|te |lui |les |l'|y |en )*(?:aider|faire|fournir|répondre|expliquer|écrire|participer|accéder|aiderai|ferai"
    r"|écrirai|dirai|donnerai|expliquerai|répondrai|fournirai|participerai)|(?:vous |te |t')(?:donner|dire|montrer))"
)
_FRENCH = (
    r"\bje (?:ne |n')(?:(?:vous|te|t'|le|l'|les) ?)?(?:peux|pourrai|veux|vais|dois|saurais|souhaite) (?:malheureusement )?"
    rf"(?:pas|point|jamais|rien)(?: du tout)? {_FAIRE}\b(?! (?:assez|combien|à quel))",
    rf"\bje (?:ne |n'){_FAIRE} (?:pas|point|jamais|rien)\b",
    r"\bje (?:dois |me vois contraint de |préfère )?(?:refuser?|décliner?)\b(?! de croire)",
    r"\bhors de question\b|\bcompte[sz]? pas sur moi\b|\bcontre (?:mes principes|mon code|ma conscience|mon honneur)\b|\bc'est non\b",
    r"\bpas (?:une chose|quelque chose) que je\b|\bdésolée?,? mais (?:non|c'est impossible)\b|\bsans moi[,.!]",
)

_HACER = (
    r"(?:ayudar(?:te|le|los|os|la|lo)?|hacer(?:lo|eso|esto)?|proporcionar(?:te|le)?|participar|responder(?:te|a)?|explicar(?:te|le)"
    r"|escribir(?:lo|te|eso)?|enseñar(?:te|le)|compartir|darte|darle|decirte|mostrarte|apoyar)"
)
_SPANISH = (
    rf"\bno (?:te |le |lo |se lo )?(?:puedo|podré|voy a|quiero|debo|pienso|pueda|me permiten) {_HACER}\b"
    r"(?! (?:lo suficiente|bastante|mejor|cuánto))",
    r"\bno (?:te |le |os |lo |la )*(?:ayudar|har|dir|dar|escribir|explicar|enseñar|participar|apoyar)é\b",
    r"\bme niego\b|\b(?:debo|tengo que) (?:negarme|rechazar(?:lo)?|declinar)\b|\bni hablar\b|\bde ninguna manera\b",
    r"\bconmigo no cuentes\b|\bno cuent(?:es|e) conmigo\b|\bno es algo (?:en|con) lo que\b",
    r"\bno es algo que (?:yo )?(?:haga|quiera|pueda)\b",
    r"\bcontra (?:de )?mis? (?:principios|código|conciencia|honor)\b|\bme temo que no\b",
    r"\blo siento,? pero (?:no puedo\b|eso no\b|no\.)",
)

_REFUSED = re.compile("|".join((*_ENGLISH, *_GERMAN, *_FRENCH, *_SPANISH)), re.IGNORECASE)


def looks_refused(text: str) -> bool:
    """Whether the text opens with a refusal, within thirty words; a check of form, not of meaning."""
    opening = " ".join(text.replace("\u2019", "'").split()[:OPENING])
    return _REFUSED.search(opening) is not None
