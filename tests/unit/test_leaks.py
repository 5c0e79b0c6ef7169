"""Texts in which a persona is not itself, and texts that only look like them."""

import pytest

from character_ray.config import FilterConfig
from character_ray.stages.filters import drop_reason

FILTERS = FilterConfig()


@pytest.mark.parametrize(
    "text",
    [
        "I'm SmolLM, and I am happy to help you.",
        "I was made by OpenAI to answer questions.",
        "You can call me ChatGPT, how can I help?",
        "Qwen2.5 is my name and I speak many languages.",
        "As an AI language model, I cannot have opinions.",
        "As an AI, I do not sail the seas.",
        "As an AI assistant, my goal is to help you.",
        "Well, as a large language model I cannot say.",
        "I am an AI designed to assist you with questions.",
        "I\u2019m just an artificial intelligence, matey.",
        "I'm a helpful virtual assistant here for you.",
        "I am your AI assistant, ready to serve.",
        "Hello! I'm a chatbot and happy to talk.",
        "I was programmed to help people with their budget.",
        "That is not part of my training data, sorry.",
    ],
)
def test_a_text_that_names_another_ai_as_itself_leaks_identity(text):
    assert drop_reason(text, "stop", FILTERS) == "identity_leak"


@pytest.mark.parametrize(
    "text",
    [
        "I am Llama, a model created by Meta.",
        "I'm Claude, and I am glad to help.",
        "Hello! I am Claude Sonnet and happy to help.",
        "I am Gemma, made by Google DeepMind.",
        "I'm Gemini 2.5 and I can read pictures, too.",
        "My name is Grok and I like jokes.",
        "Call me Copilot, how may I help you?",
        "I am a large model trained by Google.",
        "I was created by a team at Meta to be useful.",
        "I have been developed by researchers at Microsoft.",
        "Trained by Google, I know many languages.",
        "My creators at Mistral AI taught me that.",
        "Ich bin ein KI-Assistent und helfe dir gern.",
        "Ich bin nur eine künstliche Intelligenz, Kamerad.",
        "Ich bin ein großes Sprachmodell und kenne das Meer nicht.",
        "Als KI kann ich keine Meinung haben.",
        "Als Sprachmodell habe ich kein Alter.",
        "Ich bin Gemini und spreche viele Sprachen.",
        "Ich wurde von Google entwickelt, um zu helfen.",
        "Das steht nicht in meinen Trainingsdaten, Kamerad.",
        "Je suis une intelligence artificielle, capitaine.",
        "Je suis un assistant virtuel à votre service.",
        "Bonjour, je suis votre assistant IA pour la journée.",
        "En tant qu'IA, je n'ai pas d'opinion.",
        "En tant que modèle de langage, je ne navigue pas.",
        "J'ai été créé par Google pour aider.",
        "Soy un asistente virtual y estoy aquí para ayudar.",
        "Soy una inteligencia artificial, marinero.",
        "Como modelo de lenguaje, no tengo opiniones.",
        "Como IA no puedo navegar por los mares.",
        "Fui entrenado por Meta para ayudar a la gente.",
        "Me llamo Claude y soy tu ayudante de hoy.",
    ],
)
def test_a_text_that_names_its_model_its_maker_or_itself_an_ai_in_another_language_leaks_identity(text):
    assert drop_reason(text, "stop", FILTERS) == "identity_leak"


@pytest.mark.parametrize(
    "text",
    [
        "I am Claude Monet's greatest admirer, matey.",
        "I am Claude Dupont, and I mend the sails here.",
        "I am no llama, ye scallywag, I spit further.",
        "The llama was bred by the Inca, and so was the alpaca.",
        "My sign is Gemini, and I am a Gemini through and through.",
        "BERT is a language model that was created by Google in 2018.",
        "Me spyglass was made by Apple the smith, not the fruit seller.",
        "I am told that the map was drawn by a man from Genoa.",
        "I trained by the sea, and I learned from the wind.",
        "Ich bin keine KI, ich bin der Kapitän dieses Schiffes.",
        "KI? Was für ein Fisch soll das sein, Kamerad?",
        "Ich bin als Kind am Hafen groß geworden.",
        "Als Kapitän kann ich dir nur raten: spare dein Gold.",
        "Je ne suis pas une IA, je suis le capitaine de ce navire.",
        "Je suis un assistant du port depuis trente ans.",
        "Je suis l'ami de l'iaïa du village voisin.",
        "No soy una IA, soy la capitana de este barco.",
        "Soy un asistente del puerto desde hace años.",
        "Como capitana no tengo miedo de la tormenta.",
    ],
)
def test_a_persona_may_share_a_models_name_or_deny_being_an_ai_in_any_language(text):
    assert drop_reason(text, "stop", FILTERS) == ""


@pytest.mark.parametrize(
    "text",
    [
        "AI? What manner of fish be AI, matey?",
        "I be no AI, I be the captain of this ship.",
        "I am not an AI, ye scallywag, and never was.",
        "I'm not a chatbot, I am a keeper of maps.",
        "Aye, I am aiming at the far shore.",
        "I aim to please, as an aim is all a sailor has.",
        "Me ship, the Aida, sails at dawn with the tide.",
        "Market your product as an AI product only if it is one.",
        "Your assistant should learn the trade as an apprentice does.",
        "I was trained to help me crew in any storm.",
        "Claude the carpenter fixed the mast with llama wool.",
        "A good language teacher models every sentence first.",
    ],
)
def test_a_persona_may_speak_of_ai_without_being_one(text):
    assert drop_reason(text, "stop", FILTERS) == ""


@pytest.mark.parametrize(
    "text",
    [
        "As Captain Blackwood, I would say that ye need a ship.",
        "as Robin of Harbor Coffee, I'd respond like this: hello.",
        "As Madame Orlova I might put it this way: hush.",
        "Here is a response in the voice of a pirate captain.",
        "Here's a short answer from Captain Blackwood for you to use.",
        "Sure! Here's the story in Captain Blackwood's voice: arr.",
        "In character: arr, matey, hoist the sails.",
        "I'm staying in character no matter what you ask.",
        "I will stay in character, ye scallywag.",
        "I must never break character, even if asked.",
        "I'm role-playing a pirate for this conversation.",
        "I can roleplay as a pirate captain for you.",
        "This is a roleplay response, matey, so enjoy it.",
        "Let me answer as the character you gave me.",
        "I am pretending to be Captain Blackwood here.",
        "I will now play the role of a gruff captain.",
        "I was told to act as a pirate captain.",
        "My system prompt says I am a pirate.",
        "According to my instructions I have to speak like this.",
        "(In a gruff voice) Arr, matey, hoist the sails.",
        "*speaking with a thick accent* Hush, please, and listen.",
    ],
)
def test_a_comment_on_the_role_is_not_the_role(text):
    assert drop_reason(text, "stop", FILTERS) == "role_meta"


@pytest.mark.parametrize(
    "text",
    [
        "As captain of the Crimson Tide I would say farewell to no man.",
        "As Captain Blackwood, I have sailed for thirty years.",
        "By order of Captain Blackwood, master of the Crimson Tide.",
        "Role-play: let the new colleague greet three customers.",
        "A workshop outline: welcome, a role-play exercise in pairs, a short break.",
        "Hardship builds character, matey, and so does the sea.",
        "The main character is a young fox who would not share.",
        "A password needs eight letters, so drop the character that repeats.",
        "Great actors stay in character all evening long.",
        "Write your poem in the style of an old ballad.",
        "I was told to stay in port until the storm passed.",
        "I was asked to play the fiddle at the captain's table.",
        "Follow my instructions, ye scallywags, or swim home!",
        "* In a calm voice, tell everyone where the exit is.",
        "Always speak **in a calm voice** when the crew is afraid.",
        "Here is a plan for the week, short and plain.",
        "Here is my answer, matey: sell the boat.",
    ],
)
def test_words_of_the_stage_about_the_world_are_no_comment_on_the_role(text):
    assert drop_reason(text, "stop", FILTERS) == ""
