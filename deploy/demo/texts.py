"""What the people of the demo say: sentences of our own in many scripts, and the characters that break careless programs."""

from __future__ import annotations

from random import Random
from typing import Final

SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "English": (
        "Good morning, everybody!",
        "The train is late again, I'll join from my phone.",
        "Could somebody look at the second page before noon?",
        "I don't think it's the database. It's never the database. (It was the database.)",
        "Lunch?",
    ),
    "German": (
        "Guten Morgen zusammen, der Kaffee ist fertig.",
        "Wer hat den größten Schlüsselbund mitgenommen?",
        "Ich prüfe das heute Nachmittag, spätestens um fünf.",
        "Schöne Grüße aus Köln, hier regnet es natürlich.",
    ),
    "French": (
        "Bonjour à tous, la réunion est déplacée à onze heures.",
        "J'ai laissé mes clés à l'hôtel, quelle journée…",
        "Où est passée la maquette de Noël ?",
        "Ça marche très bien chez moi.",
    ),
    "Spanish": (
        "¿Alguien sabe por qué se cayó la página?",
        "¡Qué buena noticia, enhorabuena al equipo!",
        "Mañana llevo churros para todos.",
    ),
    "Portuguese": (
        "Não encontrei a chave do armário, alguém viu?",
        "A apresentação ficou ótima, parabéns!",
    ),
    "Polish": (
        "Cześć, wczoraj wieczorem wszystko działało bez zarzutu.",
        "Żółta łódź płynie po jeziorze, a ja siedzę w biurze.",
    ),
    "Turkish": (
        "Günaydın, ışıklar neden hâlâ kapalı?",
        "İstanbul'da hava çok güzel, şimdi vapurdayım.",
    ),
    "Vietnamese": (
        "Chào buổi sáng, hôm nay trời đẹp quá!",
        "Ai đã ăn hết bánh trong tủ lạnh vậy?",
    ),
    "Swahili": (
        "Habari za asubuhi, kila mtu yuko tayari?",
        "Mkutano utaanza baada ya dakika kumi.",
    ),
    "Greek": (
        "Καλημέρα σε όλους, ξεκινάμε σε πέντε λεπτά.",
        "Ποιος άφησε το παράθυρο ανοιχτό;",
    ),
    "Russian": (
        "Доброе утро, отчёт уже готов?",
        "Ёжик в тумане снова потерял свой узелок.",
        "Съешь ещё булочек, пока они тёплые.",
    ),
    "Ukrainian": ("Добрий ранок, чи є ґанок біля їхнього будинку?",),
    "Georgian": ("დილა მშვიდობისა, ყავა მზად არის.",),
    "Armenian": ("Բարի լույս, ժողովը սկսվում է տասին։",),
    "Arabic": (
        "صباح الخير، هل الجميع هنا؟",
        "الاجتماع الساعة ٣ في القاعة الكبيرة.",
        "اكتب لي version 2.1 عندما تنتهي من المراجعة.",
        "شُكْرًا جَزِيلًا عَلَى المُسَاعَدَة",
    ),
    "Hebrew": (
        "בוקר טוב לכולם, מי מביא קפה?",
        "הפגישה (זו של יום ג׳) נדחתה ל־14:30.",
        "שָׁלוֹם עֲלֵיכֶם",
    ),
    "Persian": (
        "سلام، نامه‌ها را فرستادم.",
        "می‌خواهم فردا زودتر بیایم.",
    ),
    "Urdu": ("آج موسم بہت اچھا ہے، چلو باہر چلتے ہیں۔",),
    "Hindi": (
        "सुप्रभात, क्या सब लोग आ गए हैं?",
        "कृपया दूसरी पंक्ति फिर से पढ़ें, क्षमा करें।",
    ),
    "Bengali": ("শুভ সকাল, আজকের কাজ শুরু করা যাক।",),
    "Tamil": ("காலை வணக்கம், அனைவரும் நலமா?",),
    "Thai": (
        "สวัสดีตอนเช้า วันนี้ฝนตกหนักมาก",
        "ใครเอาร่มของฉันไปหรือเปล่า",
    ),
    "Amharic": ("እንደምን አደራችሁ፣ ስብሰባው በአሥር ሰዓት ነው።",),
    "Chinese": (
        "大家早上好，会议改到下午三点。",
        "谁看到我的雨伞了？昨天放在门口的。",
        "這個問題昨天晚上已經解決了。",
        "𠮷野家今天休息。",
    ),
    "Japanese": (
        "おはようございます。今日もよろしくお願いします。",
        "さっきのファイル、どこに置きましたか？",
        "ガギグゲゴの濁点が消えました。",
    ),
    "Korean": (
        "좋은 아침입니다, 회의실이 바뀌었어요.",
        "각자 의견을 한 줄씩 적어 주세요.",
    ),
}

EMOJI: Final = (
    "👍",
    "🎉🎉🎉",
    "👩‍👩‍👧‍👦",  # a family: four people and three joiners
    "🧑🏽‍🚀",  # a person, a skin tone, a joiner, a rocket
    "🏳️‍🌈",
    "👩🏿‍❤️‍💋‍👨🏻",  # ten code points
    "🇺🇦🇯🇵🇰🇪",  # regional indicators, two a flag
    "1️⃣ 2️⃣ #️⃣",  # keycaps
    "🏴󠁧󠁢󠁳󠁣󠁴󠁿",  # a flag of tag characters
    "❤️ ❤︎",  # the same heart, as picture and as text
)

CORNERS: Final = (
    "e\u0301 is not é, and both are right",  # decomposed and composed
    "Z̸a̶l̵g̷o̴ ̶c̸o̷m̵e̸s̶",  # combining strokes
    "ก็็็็ ที่ ู",  # stacked marks
    "\u202bmixed עברית with English\u202c and back",  # explicit embedding
    "left‎ and right‏ marks",
    "zero\u200bwidth\u200cnon\u200djoiner",
    "\"quotes\" 'apostrophes' <b>tags</b> & {{braces}} \\back\\slashes $(echo no) %s",
    "tab\there, line\nbreak, carriage\r\nreturn",
    "\u2028line and\u2029paragraph separators",
    "'; DROP TABLE messages; --",
    "∑ᵢ₌₁ⁿ i² = n(n+1)(2n+1)⁄6 ≤ ∞",
    "𝕸𝖆𝖙𝖍 ｆｕｌｌｗｉｄｔｈ ﬁ ﷽",
    "null \\u0000 is only its spelling here",
)


def say(rng: Random) -> str:
    """Something that somebody might say: mostly one sentence, sometimes a few, with or without emoji."""
    chance = rng.random()
    if chance < 0.08:
        return rng.choice(EMOJI)
    if chance < 0.2:
        return rng.choice(CORNERS)
    language = SENTENCES[rng.choice(sorted(SENTENCES))]
    if chance < 0.23:
        return "\n\n".join(rng.choice(language) for _ in range(rng.randint(5, 60)))
    sentence = rng.choice(language)
    if chance < 0.35:
        other = SENTENCES[rng.choice(sorted(SENTENCES))]
        return f"{sentence} — {rng.choice(other)}"
    if chance < 0.6:
        return f"{sentence} {rng.choice(EMOJI)}"
    return sentence
