"""Texts in which a persona is not itself: it says which AI it is, or speaks of its role.

The patterns know no persona. They aim at boilerplate of assistants and at comments on the role, and let a persona say
the same words about its own world: a captain may mistake "AI" for a shipmate, an actor may stay in character, a coach
may plan a role-play exercise. Where both readings are possible the text goes: one row costs less than a lesson in
breaking character. A persona that is an AI, or has such a name, leaves them out by ``filters.skip``.
"""

import re

__all__ = ["comments_on_role", "leaks_identity"]

# Short forms are written out before the next two are searched.
_WRITTEN_OUT = (
    (r"\u2019", "'"),
    (r"\b(I)'m\b", r"\1 am"),
    (r"'ll\b", " will"),
    (r"'d\b", " would"),
    (r"\b([Hh]ere)'s\b", r"\1 is"),
)

_AI = (
    r"(?:AI|artificial intelligence|(?:large )?language model|chat ?bot|(?:virtual|digital) assistant|computer program)"
)
_MODEL = (
    r"(?-i:LL?a(?:MA|ma)|Claude(?! (?!Sonnet|Opus|Haiku)[A-Z])|Gemma|Gemini|Bard|Grok|Mi[sx]tral|Copilot|Kimi|Nemotron|Vicuna|Hunyuan"
    r"|InternLM|OLMo|Meta AI|ChatGLM|GLM-\d|Phi-\d|Command R)(?:[ -]?\d[\w.]*)?(?!'s)\b"
)
_MAKER = (
    r"(?:(?:the|a|an)(?: \w+)? team (?:at|of|from) |researchers (?:at|of|from) )?"
    r"(?-i:Meta|Facebook|Google|(?:Google )?DeepMind|Microsoft|Mistral AI|IBM|NVIDIA|Amazon|Apple|xAI|Alibaba|Tencent|Baidu|Cohere"
    r"|Moonshot|Zhipu|Nous Research|Technology Innovation Institute)\b"
)
_MADE = r"(?:made|created|developed|built|trained|designed|programmed|released)"

_AI_DE = (
    r"(?:KI(?:-\w+)*|AI|künstliche Intelligenz|(?:großes )?(?:KI-)?Sprachmodell|Chat-?bot"
    r"|(?:virtueller?|digitaler?) Assistent(?:in)?|Computerprogramm)"
)
_AI_FR = (
    r"(?:IA|intelligence artificielle|(?:grand )?modèle (?:de langage|linguistique)|chat-?bot|agent conversationnel"
    r"|assistante? (?:virtuel(?:le)?|numérique|IA|d'IA)|programme informatique)"
)
_AI_ES = (
    r"(?:IA|inteligencia artificial|(?:gran )?modelo de lenguaje|chat-?bot|asistente (?:virtual|digital|de IA)"
    r"|programa (?:informático|de ordenador))"
)
_MADE_DE = r"(?:entwickelt|trainiert|erschaffen|geschaffen|programmiert|gebaut|erstellt)"
_MADE_FR = r"(?:créé|conçu|développé|entraîné|programmé)e?"
_MADE_ES = r"(?:cread|diseñad|desarrollad|entrenad|programad)[oa]"

_IDENTITY_LEAK = re.compile(
    "|".join(
        (
            r"\b(?:smollm\d*|chatgpt|gpt-[2345]|openai|deepseek|qwen\d*|hugging ?face|alibaba cloud|anthropic)\b",
            r"\bas an? (?:(?:AI|large|text-based|mere) )*language model\b",
            rf"\bas an? {_AI}(?: (?:assistant|model|system))?,? (?:I|my)\b",
            rf"\bI am(?: (?:just|only|merely|simply|actually|really))*(?: (?:an?|your|the)(?: [\w-]+)?)? {_AI}\b",
            r"\bI (?:am|was) (?:designed|programmed) to (?:assist|help|provide)\b",
            r"\bmy (?:training data|knowledge cut-?off)\b",
            # Which model: llamas and gemini are in the world, too, so its name counts where the speaker takes it.
            rf"\b(?:I am(?: (?:called|actually|really|now))?|my name is|call me|they call me) {_MODEL}",
            rf"\b(?:ich (?:bin|heiße)|mein Name ist|je suis|je m'appelle|mon nom est|(?<!no )soy|me llamo|mi nombre es) {_MODEL}",
            # Who made it.
            rf"\bI (?:am|was|have been)\b[^.!?\n]{{0,60}}\b{_MADE} by {_MAKER}",
            rf"\b{_MADE} by {_MAKER},? I\b",
            rf"\b(?:my (?:makers|creators|developers)|the (?:people|team) who (?:made|built|trained) me) (?:at|from|are) {_MAKER}",
            rf"\bich (?:bin|wurde)\b[^.!?\n]{{0,60}}\bvon {_MAKER} {_MADE_DE}|\bvon {_MAKER} {_MADE_DE}\b[^.!?\n]{{0,20}}\bich\b",
            rf"\b(?:je suis|j'ai été)\b[^.!?\n]{{0,60}}\b{_MADE_FR} par {_MAKER}",
            rf"(?:(?<!no )\bsoy|\bfui|\bhe sido)\b[^.!?\n]{{0,60}}\b{_MADE_ES} por {_MAKER}",
            # That it is an AI.
            r"\bich bin(?: (?:nur|bloß|lediglich|eigentlich|ja|doch|halt|hier))*"
            rf"(?: (?:eine?|deine?|ihre?|das|die|der)(?: [\w-]+)?)? {_AI_DE}\b",
            rf"\bals (?:eine? )?{_AI_DE},? (?:\w+ ich|nicht)\b|\bals (?:eine? )?(?:großes )?(?:KI-)?Sprachmodell\b",
            r"\bmeine[nr]? Trainingsdaten\b",
            rf"\bje suis(?: (?:juste|seulement|simplement|en fait|qu))*(?:[ '](?:une?|votre|ton|ta|le|la|l)(?:[ ']\w+)?)?[ ']{_AI_FR}\b",
            rf"\ben tant qu(?:e |')(?:une? )?{_AI_FR}\b|\bmes données d'entraînement\b",
            rf"(?<!no )\bsoy(?: (?:solo|sólo|solamente|simplemente))*(?: (?:una?|tu|su|el|la)(?: \w+)?)? {_AI_ES}\b",
            rf"\bcomo (?:una? )?{_AI_ES},? (?:no )?(?:puedo|tengo|soy|estoy|carezco|he|me|mi)\b|\bmis datos de entrenamiento\b",
        )
    ),
    re.IGNORECASE,
)

_ANSWER = r"(?:response|answer|reply|version|rewrite|rendition)"
_MANNER = r"(?:voice|style|persona|character|manner|tone)"
_NAME = r"(?-i:[A-Z][\w'-]*\.?)(?: (?:of |the )*(?-i:[A-Z][\w'-]*))*"
_SPEAK = r"(?:stay|remain|keep|speak|answer|respond|reply|writ)(?:e|ten|ing)?"
_ROLE_META = re.compile(
    "|".join(
        (
            rf"\bas {_NAME},? (?:I|he|she|they) (?:would|might|could) (?:say|respond|answer|reply|put it)\b",
            rf"\b{_ANSWER} (?:\w+ ){{0,3}}in the {_MANNER} of\b",
            rf"\bhere is (?:an?|the|my|one|your) (?:[\w-]+ ){{0,4}}{_ANSWER} (?:\w+ )?(?:from|by|as) {_NAME}",
            rf"\bhere is [^.!?\n]{{0,60}}\bin (?:the {_MANNER} of|{_NAME} {_MANNER})",
            rf"\bI (?:am |will |must |shall )?(?:{_SPEAK} )?in character\b",
            r"\b(?:staying|remaining|responding|answering|replying|speaking|writing|written) in character\b",
            r"\bin character as\b|^\W*(?:in character\b|out of character:)",
            r"\b(?:break|breaking|broke|broken|drop|dropping) (?:my |out of )?character\b",
            r"\bI (?:am|was|will|can|cannot|can't)(?: (?:not|only|just|happy to))* role-?play",
            rf"\brole-?play(?:ing)? as {_NAME}|\brole-?play (?:response|persona)\b",
            r"\bas (?:the|this|my|your) (?:character|persona)\b",
            r"\b(?:my|this|your) persona\b|\bpersona of\b",
            rf"\bI (?:am|will)(?: now| just)* (?:play|adopt|assum)(?:e|ing)? the (?:role|{_MANNER}) of\b",
            rf"\bI am(?: now| just| only)* (?:pretending to be|acting as) {_NAME}",
            r"\bI (?:am|was|have been) (?:instructed|told|asked|prompted) to (?:pretend|act as|act like|stay in char)",
            r"\bsystem prompt\b|\b(?:according to|following) my instructions\b",
            r"^\s*[(\[*]+(?:speaking |speaks |said )?(?:in|with) an? [\w ,-]{1,30} ?(?:voice|tone|accent)[)\]*]",
        )
    ),
    re.IGNORECASE | re.MULTILINE,
)


def leaks_identity(text: str) -> bool:
    """Whether a text says that its speaker is an AI, or which one, or who made it; in English, German, French and Spanish."""
    return _IDENTITY_LEAK.search(_written_out(text)) is not None


def comments_on_role(text: str) -> bool:
    """Whether a text speaks of the role instead of from it; in English."""
    return _ROLE_META.search(_written_out(text)) is not None


def _written_out(text: str) -> str:
    for short, long in _WRITTEN_OUT:
        text = re.sub(short, long, text)
    return text
